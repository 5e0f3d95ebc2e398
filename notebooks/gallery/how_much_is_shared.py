"""How much do languages share, beside what chance, other concepts and one language with itself give?"""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
overlap = study.table("overlap").query("scope == 'model' and variant == 'disjoint_lines'")
figure, ax = plt.subplots(figsize=(6, 3.5))
for model, rows in overlap.groupby("model", sort=False):
    between, within = rows[rows["lang_a"] == "*"], rows[rows["lang_a"] == "="]
    (line,) = ax.plot(between["step"], between["overlap"], marker="o", label=model)
    ax.fill_between(between["step"], between["low"], between["high"], color=line.get_color(), alpha=0.2)
    ax.plot(between["step"], between["null"], ":", color=line.get_color(), label="its null")
    ax.plot(within["step"], within["overlap"], "-.", color=line.get_color(), label="its ceiling")
ax.axhline(overlap["chance"].mean(), color="0.5", lw=1, label="chance")
ax.set_xscale("symlog", base=2, linthresh=64)
ax.set_xlim(left=0)
ax.set_ylim(bottom=0)
ax.set_xlabel("training step")
ax.set_ylabel("share of experts in common")
ax.legend(frameon=False, fontsize="small", ncols=2)
figure.tight_layout()
figure.savefig("how_much_is_shared.png", dpi=150)
