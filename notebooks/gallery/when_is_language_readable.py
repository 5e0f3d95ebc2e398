"""When can the language be read off a token's state? Accuracy of the full probe over training, by layer."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
probes = study.table("probes").query("seed == -1 and metric == 'accuracy' and probe == 'full'")
models = list(dict.fromkeys(probes["model"]))
figure, axes = plt.subplots(1, len(models), figsize=(4 * len(models), 3.5), sharey=True, squeeze=False)
for ax, model in zip(axes[0], models, strict=True):
    of_model = probes[probes["model"] == model]
    for layer, rows in of_model.groupby("layer"):
        (line,) = ax.plot(rows["step"], rows["value"], marker="o", label=f"layer {layer}")
        ax.fill_between(rows["step"], rows["low"], rows["high"], color=line.get_color(), alpha=0.2)
    ax.plot(rows["step"], 1 / rows["n_languages"], "--", color="0.5", label="chance")
    ax.set_xscale("symlog", base=2, linthresh=64)
    ax.set_xlim(left=0)
    ax.set_title(model)
    ax.set_xlabel("training step")
axes[0, 0].set_ylabel("accuracy")
axes[0, -1].legend(frameon=False, fontsize="small")
figure.tight_layout()
figure.savefig("when_is_language_readable.png", dpi=150)
