"""Does a model use a concept's experts in other languages? What ablating them costs, over training."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
table = study.table("ablation")
models = list(dict.fromkeys(table["model"]))
figure, axes = plt.subplots(1, len(models), figsize=(4.5 * len(models), 3.5), sharey=True, squeeze=False)
for ax, model in zip(axes[0], models, strict=True):
    for languages, label in (("=", "within a language"), ("*", "across languages")):
        of_model = table[(table["model"] == model) & (table["source"] == languages)]
        rows = of_model[of_model["condition"] == "random_dose"]
        ax.plot(rows["step"], rows["gain"], marker="o", label=label)
        ax.fill_between(rows["step"], rows["gain_low"], rows["gain_high"], alpha=0.2)
    ax.axhline(0, color="grey", linewidth=0.8)
    ax.set_title(model)
    ax.set_xscale("symlog", base=2, linthresh=64)
    ax.set_xlim(left=0)
    ax.set_xlabel("training step")
axes[0, 0].set_ylabel("nats per token that experts\ncost more than random units")
axes[0, 0].legend(frameon=False, fontsize="small")
figure.tight_layout()
figure.savefig("are_experts_used.png", dpi=150)
