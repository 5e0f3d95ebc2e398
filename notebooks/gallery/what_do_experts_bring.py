"""Do a concept's experts bring it into other languages? What patching moves, over training."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
table = study.table("patching")
table = table[table["condition"] == "experts"]
models = list(dict.fromkeys(table["model"]))
figure, axes = plt.subplots(1, len(models), figsize=(4.5 * len(models), 3.5), sharey=True, squeeze=False)
for ax, model in zip(axes[0], models, strict=True):
    for languages, label in (("=", "from the same language"), ("*", "from other languages")):
        rows = table[(table["model"] == model) & (table["source"] == languages)]
        ax.plot(rows["step"], rows["gain"], marker="o", label=label)
        ax.fill_between(rows["step"], rows["gain_low"], rows["gain_high"], alpha=0.2)
    ax.axhline(0, color="grey", linewidth=0.8)
    ax.set_title(model)
    ax.set_xscale("symlog", base=2, linthresh=64)
    ax.set_xlim(left=0)
    ax.set_xlabel("training step")
axes[0, 0].set_ylabel("nats towards the concept\nof the other sentence")
axes[0, 0].legend(frameon=False, fontsize="small")
figure.tight_layout()
figure.savefig("what_do_experts_bring.png", dpi=150)
