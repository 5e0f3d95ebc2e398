"""How well does a model predict each language? The loss on held-out text, over training."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
losses = study.table("losses").query("split == 'heldout'")
models = list(dict.fromkeys(losses["model"]))
figure, axes = plt.subplots(1, len(models), figsize=(4 * len(models), 3.5), sharey=True, squeeze=False)
for ax, model in zip(axes[0], models, strict=True):
    for lang, rows in losses[losses["model"] == model].groupby("lang", sort=False):
        ax.plot(rows["step"], rows["loss"], marker=".", label=lang)
    ax.set_xscale("symlog", base=2, linthresh=64)
    ax.set_xlim(left=0)
    ax.set_title(model)
    ax.set_xlabel("training step")
axes[0, 0].set_ylabel("loss (nats per token)")
axes[0, -1].legend(frameon=False, fontsize="small", ncols=2)
figure.tight_layout()
figure.savefig("what_is_learnt_when.png", dpi=150)
