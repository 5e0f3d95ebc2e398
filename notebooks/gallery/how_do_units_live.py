"""How do shared units come to be? In how many languages each is an expert of its concept, step by step."""

import matplotlib.pyplot as plt
import seaborn as sns

import babelscope as bs

study = bs.open_study("results/demo")
lines = study.table("lifelines")
unit = ["concept", "layer", "site", "unit"]
models = list(dict.fromkeys(lines["model"]))
figure, axes = plt.subplots(1, len(models), figsize=(5 * len(models), 5), squeeze=False)
for ax, model in zip(axes[0], models, strict=True):
    counts = lines[lines["model"] == model].groupby([*unit, "step"])["is_expert"].sum().unstack("step")
    first = (counts >= 2).to_numpy().argmax(axis=1)
    rows = counts.iloc[first.argsort(kind="stable")]
    sns.heatmap(rows, ax=ax, cmap="rocket_r", vmin=0, yticklabels=False, cbar_kws={"label": "languages"})
    ax.set_title(model)
    ax.set_xlabel("training step")
    ax.set_ylabel("units, the first shared on top")
figure.tight_layout()
figure.savefig("how_do_units_live.png", dpi=150)
