"""What does a model write while experts of one language are forced? The language of its words."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
rows = study.table("generation").query("metric == 'hit_share' and target == 'source' and lang == '*'")
figure, ax = plt.subplots(figsize=(8, 3.5))
for (model, condition), part in rows.groupby(["model", "condition"], sort=False):
    style = "-" if condition == "forced" else ":"
    (line,) = ax.plot(part["step"], part["value"], style, marker="o", label=f"{model}, {condition}")
    ax.fill_between(part["step"], part["low"], part["high"], color=line.get_color(), alpha=0.15)
ax.set_ylim(0, 1)
ax.set_xlabel("training step")
ax.set_ylabel("share of concept words\nin the experts' own language")
ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
figure.tight_layout()
figure.savefig("what_does_it_write.png", dpi=150)
