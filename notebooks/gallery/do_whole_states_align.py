"""Do whole states align? How often the nearest sentence of another language is the translation, by layer."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
table = study.table("representations").query("lang_a == '*' and centred and measure == 'retrieval'")
models = list(dict.fromkeys(table["model"]))
figure, axes = plt.subplots(1, len(models), figsize=(4.5 * len(models), 3.5), sharey=True, squeeze=False)
for ax, model in zip(axes[0], models, strict=True):
    for layer, rows in table[table["model"] == model].groupby("layer"):
        ax.plot(rows["step"], rows["value"], marker="o", label=f"layer {layer}")
    ax.axhline(table["null"].mean(), color="0.5", lw=1, ls=":", label="chance")
    ax.set_title(model)
    ax.set_xscale("symlog", base=2, linthresh=64)
    ax.set_xlim(left=0)
    ax.set_xlabel("training step")
axes[0, 0].set_ylabel("translations retrieved")
axes[0, 0].legend(frameon=False, fontsize="small")
figure.tight_layout()
figure.savefig("do_whole_states_align.png", dpi=150)
