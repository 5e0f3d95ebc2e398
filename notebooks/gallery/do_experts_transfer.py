"""Does an expert of one language tell the concept in another? Average precision at home and abroad."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
transfer = study.table("transfer").query("concept == '*'")
figure, ax = plt.subplots(figsize=(6, 3.5))
for model, rows in transfer.groupby("model", sort=False):
    home, abroad = rows[rows["source"] == "="], rows[rows["source"] == "*"]
    (line,) = ax.plot(home["step"], home["ap"], "--", marker="o", label=f"{model}, own language")
    ax.plot(abroad["step"], abroad["ap"], marker="o", color=line.get_color(), label="other languages")
    ax.fill_between(abroad["step"], abroad["low"], abroad["high"], color=line.get_color(), alpha=0.2)
    other = abroad["ap_other_concepts"]
    ax.plot(abroad["step"], other, ":", color=line.get_color(), label="other languages, other concepts")
ax.axhline(transfer["chance_ap"].mean(), color="0.5", lw=1, label="random order")
ax.set_xscale("symlog", base=2, linthresh=64)
ax.set_xlim(left=0)
ax.set_xlabel("training step")
ax.set_ylabel("average precision of experts")
ax.legend(frameon=False, fontsize="small")
figure.tight_layout()
figure.savefig("do_experts_transfer.png", dpi=150)
