"""Do units hold in languages that had no part in choosing them? Average precision there, over training."""

import matplotlib.pyplot as plt

import babelscope as bs

study = bs.open_study("results/demo")
table = study.table("left_out").query("lang == '*' and concept == '*' and rule == 'worst'")
models = list(dict.fromkeys(table["model"]))
figure, axes = plt.subplots(1, len(models), figsize=(4.5 * len(models), 3.5), sharey=True, squeeze=False)
for ax, model in zip(axes[0], models, strict=True):
    of_model = table[table["model"] == model]
    for size, rows in of_model.groupby("chosen_in"):
        ax.plot(rows["step"], rows["ap"], marker="o", label=f"chosen in {size}")
        ax.fill_between(rows["step"], rows["low"], rows["high"], alpha=0.2)
    last = of_model[of_model["chosen_in"] == of_model["chosen_in"].max()]
    ax.plot(last["step"], last["ap_other_concepts"], "k:", label="other concepts")
    ax.set_title(model)
    ax.set_xscale("symlog", base=2, linthresh=64)
    ax.set_xlim(left=0)
    ax.set_xlabel("training step")
axes[0, 0].set_ylabel("average precision\nin the languages left out")
axes[0, 0].legend(frameon=False, fontsize="small")
figure.tight_layout()
figure.savefig("do_units_hold_elsewhere.png", dpi=150)
