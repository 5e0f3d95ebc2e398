"""Would other choices tell another story? The share of the way for each pooling, site and number K."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
choices = study.table("choices").query("measure == 'overlap'")
last = choices[choices["step"] == choices["step"].max()].dropna(subset=["way"])
names = list(dict.fromkeys(zip(last["pooling"], last["site"], last["size"], strict=True)))
figure, ax = plt.subplots(figsize=(8, 4))
for model, rows in last.groupby("model", sort=False):
    at = [names.index(name) for name in zip(rows["pooling"], rows["site"], rows["size"], strict=True)]
    errors = [rows["way"] - rows["way_low"], rows["way_high"] - rows["way"]]
    ax.errorbar(at, rows["way"], errors, ls="", marker="o", capsize=3, label=model)
ax.axhline(0, color="0.5", lw=1)
labels = [", ".join(name).replace("*", "all sites") for name in names]
ax.set_xticks(range(len(names)), labels, rotation=60, ha="right", fontsize="x-small")
ax.set_ylabel("share of the way\nfrom null (0) to ceiling (1)")
ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
figure.tight_layout()
figure.savefig("do_choices_matter.png", dpi=150)
