"""In which layers is most shared? The share of the way within each layer, first and last step."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
overlap = study.table("overlap").query("scope == 'layer' and variant == 'disjoint_lines' and lang_a == '*'")
figure, ax = plt.subplots(figsize=(6, 3.5))
for model, rows in overlap.groupby("model", sort=False):
    for step, style in ((rows["step"].min(), ":"), (rows["step"].max(), "-")):
        at = rows[rows["step"] == step]
        errors = [at["way"] - at["way_low"], at["way_high"] - at["way"]]
        ax.errorbar(
            at["layer"], at["way"], errors, ls=style, marker="o", capsize=3, label=f"{model}, step {step}"
        )
ax.axhline(0, color="0.5", lw=1)
ax.set_xlabel("layer (1: the first block)")
ax.set_ylabel("share of the way")
ax.legend(frameon=False)
figure.tight_layout()
figure.savefig("in_which_layers.png", dpi=150)
