"""What could pass for expertise: length, spelling, frequency and corpus share, and what they predict alone.

A unit that grows with the length of a sentence predicts every concept whose sentences are long, and a unit
that answers to names and digits predicts what they stand beside. So of each sentence three traits are taken
that no model is needed for, and it is seen how well they predict its concepts. Names of shapes: ``N``
sentences, ``F`` traits, ``L`` languages, ``C`` concepts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.onset import shared_by_step
from babelscope.analysis.overlap import ALL
from babelscope.analysis.pair_regression import COLUMNS as PAIR_COLUMNS
from babelscope.analysis.pair_regression import regress_pairs
from babelscope.analysis.settings import AlignmentSettings
from babelscope.analysis.text_traits import TRAITS, Cut, Training, byte_premiums, pair_traits, traits
from babelscope.stats import two_way_interval
from babelscope.text.kinship import script_of

Floats = NDArray[np.float64]
_APS = (*(f"ap_{trait}" for trait in TRAITS), "ap_all")
_COLUMNS = [
    "model", "step", "lang", "concept", "script", *TRAITS, "byte_premium", "word_frequency", "corpus_share",
    *_APS, "low", "high", "ap_experts", "gain", "gain_low", "gain_high", "chance_ap", "positive_rate", "n",
]  # fmt: skip


class Confounds(NamedTuple):
    """What :func:`measure_confounds` finds."""

    cells: pd.DataFrame
    """Of each language and concept, at the last step of each model; see :func:`confound_table`."""
    pairs: pd.DataFrame
    """Regressions over pairs at every step, see :func:`babelscope.analysis.pair_regression.regress_pairs`,
    after ``model, step``."""


def predicted_by(traits_NF: Floats, label_N: NDArray[np.int64], half_N: NDArray[np.int64]) -> list[float]:
    """Average precision of each trait, and of all together, as predictors of a concept.

    A logistic regression is fitted on one half of the sentences and scored on the other, both ways, averaged.

    Args:
        traits_NF: Of the sentences that are part of the concept's data.
        label_N: 1 positive, 0 negative.
        half_N: 0 or 1.

    Returns:
        A number for each trait, and last for all.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score

    found = np.zeros(traits_NF.shape[1] + 1)
    for half in (0, 1):
        fit_N, held_N = half_N == half, half_N != half
        spread_F = traits_NF[fit_N].std(axis=0)
        scaled_NF = (traits_NF - traits_NF[fit_N].mean(axis=0)) / np.where(spread_F > 0, spread_F, 1)
        for at, columns in enumerate([*([f] for f in range(traits_NF.shape[1])), slice(None)]):
            model = LogisticRegression().fit(scaled_NF[fit_N][:, columns], label_N[fit_N])
            score_N = model.decision_function(scaled_NF[held_N][:, columns])
            found[at] += average_precision_score(label_N[held_N], score_N) / 2
    return [float(value) for value in found]


def measure_confounds(
    cuts: Mapping[str, Mapping[str, Cut]],
    labels: Mapping[str, pd.DataFrame],
    training: Mapping[str, Training],
    experts: Iterable[pd.DataFrame],
    transfer: pd.DataFrame,
    settings: AlignmentSettings,
    *,
    parallel: bool,
) -> Confounds:
    """What could pass for expertise, and for sharing, in every model.

    Args:
        cuts: Per model and language the sentences, as its tokenizer cuts them; a model that is not there has
            no rows.
        labels: Per language its concepts, see :func:`confound_table`.
        training: Per model.
        experts: Tables of :func:`babelscope.analysis.experts.select_experts`, each of all languages of one or
            more steps.
        transfer: The table of :func:`babelscope.analysis.transfer.transfer_table` of all models and steps;
            what it leaves out, such as flagged steps, is left out here.
        settings: Resamples, permutations, seed.
        parallel: Whether sentences of equal ids are translations of each other.
    """
    cells, pairs = [], []
    for model, of_model in transfer[transfer["model"].isin(cuts.keys())].groupby("model", sort=False):
        at_last = of_model[of_model["step"] == of_model["step"].max()]
        name = str(model)
        about = cuts[name], labels, at_last, training[name], settings
        cells.append(confound_table(*about, parallel=parallel))
    kept = set(zip(transfer["model"], transfer["step"], strict=True))
    alike = {name: pair_traits(of, training[name].shares, parallel=parallel) for name, of in cuts.items()}
    for table in experts:
        for (model, step), shared in shared_by_step(table):
            between = {(a, b): of for (a, b), of in shared.items() if a < b}
            if (model, step) in kept and model in cuts and between:
                rows = regress_pairs(between, alike[model], settings)
                pairs.append(rows.assign(model=model, step=step))
    found = _stacked(pairs, ["model", "step", *PAIR_COLUMNS])
    return Confounds(
        _stacked(cells, _COLUMNS),
        found.sort_values(["model", "step"], kind="stable", ignore_index=True),
    )


def confound_table(
    cuts: Mapping[str, Cut],
    labels: Mapping[str, pd.DataFrame],
    expertise: pd.DataFrame,
    training: Training,
    settings: AlignmentSettings,
    *,
    parallel: bool,
) -> pd.DataFrame:
    """What could pass for the expertise of a model's units, per language and concept, beside it.

    Args:
        cuts: Per language its sentences, as the model's tokenizer cuts them.
        labels: Per language the columns ``concept, sentence_id, half, label`` of its concepts.
        expertise: Rows of one step of the table of :func:`babelscope.analysis.transfer.transfer_table`.
        training: Of the model.
        settings: Resamples of the intervals, seed.
        parallel: Whether equal ids are translations of each other.

    Returns:
        Columns as docs/formats.md explains them. Rows of concept ``*`` are of all sentences of a language;
        that of language ``*`` has the means over languages and concepts, with intervals over both.
    """
    measured, premiums = traits(cuts), byte_premiums(cuts) if parallel else {}
    own = expertise[(expertise["source"] == expertise["target"]) & (expertise["concept"] != ALL)]
    own = own.set_index(["source", "concept"])[["ap", "chance_ap", "positive_rate"]]
    about = {"model": expertise["model"].iloc[0], "step": int(expertise["step"].iloc[0])}
    rows: list[dict[str, Any]] = []
    for lang, of in cuts.items():
        known = about | {
            "lang": lang,
            "script": script_of(of.texts),
            "byte_premium": premiums.get(lang, np.nan),
            "corpus_share": training.shares.get(lang, np.nan),
        }
        rows.append(known | {"concept": ALL, "n": len(of.ids)} | _means(measured[lang]))
        row_of = {name: row for row, name in enumerate(of.ids)}
        for concept, data in labels[lang].groupby("concept", sort=True):
            label_N = data["label"].to_numpy(np.int64)
            half_N = (data["half"] == "b").to_numpy().astype(np.int64)
            traits_NF = measured[lang][[row_of[name] for name in data["sentence_id"]]]
            known_ap = own.loc[(lang, str(concept)), :]
            frequency = training.frequencies.get(lang, {}).get(str(concept), np.nan)
            row = known | {"concept": concept, "n": int(label_N.sum()), "word_frequency": frequency}
            row |= _means(traits_NF[label_N == 1])
            row |= dict(zip(_APS, predicted_by(traits_NF, label_N, half_N), strict=True))
            row |= {"ap_experts": known_ap["ap"], "gain": known_ap["ap"] - row["ap_all"]}
            row |= {name: known_ap[name] for name in ("chance_ap", "positive_rate")}
            rows.append(row)
    table = pd.DataFrame(rows).reindex(columns=_COLUMNS)
    means = pd.DataFrame([about | _mean_row(table, settings)]).reindex(columns=_COLUMNS)
    return _stacked([table, means], _COLUMNS)


def _stacked(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Parts of a table, whose types do not depend on what was found."""
    whole = {"step", "n", "n_pairs", "n_langs", "n_concepts"}
    texts = {"model", "lang", "concept", "script", "term"}
    types = {name: np.int64 if name in whole else np.float64 for name in columns if name not in texts}
    return pd.concat(parts or [pd.DataFrame(columns=columns)], ignore_index=True)[columns].astype(types)


def _means(traits_NF: Floats) -> dict[str, float]:
    return dict(zip(TRAITS, traits_NF.mean(axis=0).tolist(), strict=True))


def _mean_row(table: pd.DataFrame, settings: AlignmentSettings) -> dict[str, Any]:
    """Means over languages and concepts that all languages have, with intervals."""
    cells = table[table["concept"] != ALL]
    n_langs = cells["lang"].nunique()
    cells = cells[cells.groupby("concept")["lang"].transform("nunique") == n_langs]
    row: dict[str, Any] = {"lang": ALL, "concept": ALL, "script": "", "n": len(cells)}
    row |= {name: cells[name].mean() for name in (*_APS, "ap_experts", "gain", "chance_ap", "positive_rate")}
    themselves = [(at, at) for at in range(n_langs)]
    for value, low, high in (("ap_all", "low", "high"), ("gain", "gain_low", "gain_high")):
        values_LC = cells.pivot_table(value, "lang", "concept").to_numpy()
        # The interval is made for shares, so a difference is moved between 0 and 1 and back.
        move, scale = (1.0, 2.0) if value == "gain" else (0.0, 1.0)
        given = (values_LC + move) / scale, themselves, n_langs, settings.bootstrap, settings.seed
        row[low], row[high] = (float(end * scale - move) for end in two_way_interval(*given))
    return row
