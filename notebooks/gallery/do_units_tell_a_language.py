"""Do units tell a language, whatever is said in it? The best unit of each layer, over training."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
table = study.table("language_units").query("lang == '*' and n_units > 0")
models = list(dict.fromkeys(table["model"]))
figure, axes = plt.subplots(1, len(models), figsize=(4.5 * len(models), 3.5), sharey=True, squeeze=False)
for ax, model in zip(axes[0], models, strict=True):
    of_model = table[table["model"] == model]
    for layer, rows in of_model[of_model["layer"] >= 0].groupby("layer"):
        ax.plot(rows["step"], rows["ap"], marker="o", label=f"layer {layer}")
    whole = of_model[of_model["layer"] == -1]
    ax.plot(whole["step"], whole["null_ap"], "k:", label="languages at random")
    ax.set_title(model)
    ax.set_xscale("symlog", base=2, linthresh=64)
    ax.set_xlim(left=0)
    ax.set_xlabel("training step")
axes[0, 0].set_ylabel("average precision for the language")
axes[0, 0].legend(frameon=False, fontsize="small")
figure.tight_layout()
figure.savefig("do_units_tell_a_language.png", dpi=150)
