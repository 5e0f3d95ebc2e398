"""Which languages share experts? A map of the overlap above its null, at the last step."""

import matplotlib.pyplot as plt
import seaborn as sns

import babelscope as bs

study = bs.open_study("results/demo")
overlap = study.table("overlap").query("scope == 'model' and variant == 'disjoint_lines'")
pairs = overlap[(overlap["step"] == overlap["step"].max()) & overlap["q_value"].notna()]
models = list(dict.fromkeys(pairs["model"]))
figure, axes = plt.subplots(1, len(models), figsize=(5 * len(models), 4), squeeze=False)
for ax, model in zip(axes[0], models, strict=True):
    rows = pairs[pairs["model"] == model]
    excess = (rows["overlap"] - rows["null"]).rename("excess")
    table = rows.assign(excess=excess).pivot_table(index="lang_a", columns="lang_b", values="excess")
    mark = rows.assign(mark=(rows["q_value"] < 0.05).map({True: "*", False: ""}))
    marks = mark.pivot_table(index="lang_a", columns="lang_b", values="mark", aggfunc="first").fillna("")
    sns.heatmap(table, ax=ax, cmap="rocket_r", vmin=0, annot=marks, fmt="")
    ax.set_title(f"{model}: overlap - null (*: q < .05)")
figure.tight_layout()
figure.savefig("which_pairs_share.png", dpi=150)
