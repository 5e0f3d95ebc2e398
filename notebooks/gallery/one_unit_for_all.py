"""Is there a unit that predicts a concept in every language? Its worst AP over languages, over training."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
best = study.table("reliability").query("kind == 'best_unit' and metric == 'worst_ap' and concept == '*'")
figure, ax = plt.subplots(figsize=(6, 3.5))
for model, rows in best.groupby("model", sort=False):
    (line,) = ax.plot(rows["step"], rows["value"], marker="o", label=model)
    ax.fill_between(rows["step"], rows["low"], rows["high"], color=line.get_color(), alpha=0.2)
    ax.plot(rows["step"], rows["null"], ls=":", color=line.get_color(), label=f"{model}, concepts permuted")
ax.set_xscale("symlog", base=2, linthresh=64)
ax.set_xlim(left=0)
ax.set_ylim(bottom=0)
ax.set_xlabel("training step")
ax.set_ylabel("worst AP over languages\nof a concept's best unit")
ax.legend(frameon=False)
figure.tight_layout()
figure.savefig("one_unit_for_all.png", dpi=150)
