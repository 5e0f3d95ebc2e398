"""Can the language be read off a token's state? Probe accuracy by layer, beside shuffled labels."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
probes = study.table("probes").query("seed == -1 and metric == 'accuracy'")
last = probes[probes["step"] == probes["step"].max()]
figure, ax = plt.subplots(figsize=(8, 3.5))
for model, rows in last.groupby("model", sort=False):
    for probe, style in (("full", "-"), ("anchors", "--"), ("shuffled", ":")):
        at = rows[rows["probe"] == probe].sort_values("layer")
        ax.plot(at["layer"], at["value"], style, marker="o", label=f"{model}, {probe}")
        ax.fill_between(
            at["layer"], at["low"].fillna(at["value"]), at["high"].fillna(at["value"]), alpha=0.15
        )
ax.set_xlabel("layer (0: what goes into the first block)")
ax.set_ylabel("accuracy")
ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
figure.tight_layout()
figure.savefig("is_language_readable.png", dpi=150)
