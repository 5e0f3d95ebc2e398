"""What could pass for expertise and for sharing? Length and spelling beside experts; pairs of two scripts."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
cells = study.table("confounds").query("lang == '*' and concept == '*'")
pairs = study.table("confound_pairs")
figure, axes = plt.subplots(1, 2, figsize=(9, 3.5))
names = {"ap_bytes": "bytes", "ap_tokens": "tokens", "ap_all": "all traits", "ap_experts": "experts"}
for row in cells.to_dict("records"):
    axes[0].plot(list(names.values()), [row[name] for name in names], "o", label=row["model"])
axes[0].set_ylim(bottom=0)
axes[0].set_ylabel("average precision")
axes[0].legend(frameon=False, fontsize="small")
for model, rows in pairs[pairs["term"] == "other_script_left"].groupby("model", sort=False):
    axes[1].plot(rows["step"], rows["value"], marker="o", label=model)
    axes[1].fill_between(rows["step"], rows["low"], rows["high"], alpha=0.2)
axes[1].set_xscale("symlog", base=2, linthresh=64)
axes[1].set_xlim(left=0)
axes[1].set_xlabel("training step")
axes[1].set_ylabel("overlap of two scripts\nless what they have in common")
figure.tight_layout()
figure.savefig("what_could_pass_for_expertise.png", dpi=150)
