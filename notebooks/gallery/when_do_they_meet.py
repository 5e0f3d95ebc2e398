"""When do experts of two languages meet? The share of the way from null to ceiling over training."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
overlap = study.table("overlap").query("scope == 'model' and variant == 'disjoint_lines' and lang_a == '*'")
figure, ax = plt.subplots(figsize=(6, 3.5))
for model, rows in overlap.groupby("model", sort=False):
    ax.plot(rows["step"], rows["way"], marker="o", label=model)
    ax.fill_between(rows["step"], rows["way_low"], rows["way_high"], alpha=0.2)
ax.axhline(0, color="0.5", lw=1, ls=":")
ax.set_xscale("symlog", base=2, linthresh=64)
ax.set_xlim(left=0)
ax.set_xlabel("training step")
ax.set_ylabel("share of the way\nfrom null (0) to ceiling (1)")
ax.legend(frameon=False)
figure.tight_layout()
figure.savefig("when_do_they_meet.png", dpi=150)
