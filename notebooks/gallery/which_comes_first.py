"""Which comes first, competence or sharing? The share of its rise that each has made, over training."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
curves, gaps = study.table("onset_curves"), study.table("onset_gaps")
models = list(dict.fromkeys(curves["model"]))
figure, axes = plt.subplots(1, len(models), figsize=(4.5 * len(models), 3.5), sharey=True, squeeze=False)
for ax, model in zip(axes[0], models, strict=True):
    for measure, rows in curves[curves["model"] == model].groupby("measure", sort=False):
        ax.plot(rows["step"], rows["risen"], marker="o", label=measure)
        ax.fill_between(rows["step"], rows["risen_low"], rows["risen_high"], alpha=0.2)
    gap = gaps.query("model == @model and measure == 'sharing' and behind == 'competence' and lang_a == '*'")
    gap = gap[gap["concept"] == "*"].iloc[0]
    ax.set_title(
        f"{model}\n{gap['octaves']:.1f} [{gap['low']:.1f}, {gap['high']:.1f}] octaves", fontsize="small"
    )
    ax.axhline(0.5, color="0.5", lw=1, ls=":")
    ax.set_xscale("symlog", base=2, linthresh=64)
    ax.set_xlabel("training step")
axes[0, 0].set_ylabel("share of its rise")
axes[0, 0].legend(frameon=False)
figure.tight_layout()
figure.savefig("which_comes_first.png", dpi=150)
