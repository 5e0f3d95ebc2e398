"""How much of what ties languages together does sharing take? The share of the way at the end, by dose."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo-doses")
overlap = study.table("overlap").query("scope == 'model' and variant == 'disjoint_lines' and lang_a == '*'")
last = overlap[overlap["step"] == overlap.groupby("model")["step"].transform("max")]
doses = last.merge(study.table("models")[["model", "dose"]], on="model")
known = doses.dropna(subset=["dose", "way"]).sort_values("dose")
figure, ax = plt.subplots(figsize=(6, 3.5))
errors = [known["way"] - known["way_low"], known["way_high"] - known["way"]]
ax.errorbar(known["dose"], known["way"], errors, ls="", marker="o", capsize=3)
ax.axhline(0, color="0.5", lw=1)
ax.set_xlabel("dose")
ax.set_ylabel("share of the way\nfrom null (0) to ceiling (1)")
figure.tight_layout()
figure.savefig("how_much_ties_languages.png", dpi=150)
