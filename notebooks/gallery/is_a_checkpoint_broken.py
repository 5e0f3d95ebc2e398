"""Is a checkpoint not what its name says? Bits per byte of every step; a cross where the audit flags one."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
losses, audit = study.table("audit_losses"), study.table("audit")
means = losses.groupby(["model", "step"], as_index=False, sort=False)["bits_per_byte"].mean()
figure, ax = plt.subplots(figsize=(6, 3.5))
for model, rows in means.groupby("model", sort=False):
    (line,) = ax.plot(rows["step"], rows["bits_per_byte"], marker="o", label=model)
    flagged = audit.query("model == @model and flag")["step"]
    marked = rows[rows["step"].isin(flagged)]
    ax.scatter(marked["step"], marked["bits_per_byte"], marker="x", s=120, color=line.get_color())
ax.set_xscale("symlog", base=2, linthresh=64)
ax.set_xlim(left=0)
ax.set_xlabel("training step")
ax.set_ylabel("bits per byte,\nmean over languages")
ax.legend(frameon=False)
figure.tight_layout()
figure.savefig("is_a_checkpoint_broken.png", dpi=150)
