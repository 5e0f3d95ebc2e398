"""Generated texts in numbers: how often they hold the forced concept, in which language, how fluent.

Words of concepts are found in any language and script. What is not known is not counted: words in texts whose
source language has none for the concept, and languages that the identifier does not tell apart. Legend: T
texts, R resamples, M languages that texts and hits may be in, L source languages, C concepts, I items that
are drawn (concepts, or texts), E hits.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.errors import DataError
from babelscope.io.json import read_json
from babelscope.stats import bootstrap_weights, widened_interval
from babelscope.text.clones import NO_CLONES, Clones, part_of
from babelscope.text.languages import english_among, told_apart
from babelscope.text.words import WordFinder

Floats = NDArray[np.float64]
Words = Mapping[str, Mapping[str, Sequence[str]]]
"""Concept -> language -> forms."""
Spelt = Mapping[str, Collection[str]]
"""Concept -> languages in which its words are known."""

#: Summary over all source languages, or no target language.
ALL = "*"

#: The condition of forced texts in which words of the other concepts are counted.
OTHER_CONCEPT = "other_concept"

#: The summary's target that stands for each text's own source language.
SOURCE = "source"

#: Texts per model, step, condition and source language in the sample for the report.
SAMPLE_SIZE = 8

#: Least and most that a metric can be, if not 0 and 1.
_BOUNDS = {"nll": (0.0, np.inf), "hit_gain": (-1.0, 1.0), "difference": (-1.0, 1.0)}

#: Fewer source languages than this cannot be drawn.
_FEWEST_LANGUAGES = 3

SUMMARY_COLUMNS = [
    "model", "step", "condition", "lang", "target", "metric", "value", "low", "high", "n",
]  # fmt: skip

CONTRAST_COLUMNS = ["model", "control", "step", "target", "metric", "difference", "low", "high"]

SAMPLE_COLUMNS = [
    "model", "step", "condition", "lang", "concept", "seed", "sample", "text", "prompt_ids", "nll",
    "language", "confidence", "degenerate", "n_hits",
]  # fmt: skip


def collect_generation(
    texts: Mapping[tuple[str, int], pd.DataFrame],
    detected: Mapping[tuple[str, int], pd.DataFrame],
    *,
    words: Path,
    languages: Sequence[str],
    n_resamples: int,
    seed: int,
    against: Sequence[tuple[str, str]] = (),
    clones: Clones = NO_CLONES,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Summarise the texts of all checkpoints, compare models with controls, and take a sample of the texts.

    Args:
        texts: Per model and step the table of :func:`babelscope.analysis.generation.generate_step`.
        detected: Per model and step the table of
            :func:`babelscope.analysis.identification.identify_languages`.
        words: JSON file, concept -> language -> forms.
        languages: Languages of the study.
        n_resamples: Bootstrap resamples; ``seed`` is theirs.
        against: Pairs of a model and a control.
        clones: Those among the languages.

    Returns:
        The summary of :func:`summarise_generation`; of forced texts over all source languages the difference
        of each such pair at the same step, with columns ``model, control, step, target, metric, difference,
        low, high``, the same languages and concepts being drawn in both; and the sample of
        :func:`sample_texts`.

    Raises:
        DataError: If the words cannot be read, or the languages of a checkpoint are missing or belong to
            other texts.
    """
    try:
        known: Words = read_json(words)
    except (OSError, ValueError) as error:
        raise DataError(words, f"cannot be read: {error}") from error
    spelt = {concept: [lang for lang in languages if forms.get(lang)] for concept, forms in known.items()}
    summaries, samples, drawn = [], [], {}
    for (model, step), table in texts.items():
        if (model, step) not in detected:
            raise DataError("languages of texts", f"are not there for {model}, step {step}")
        found, hits = detected[model, step], count_hits(table["text"], known, languages, clones)
        summary, drawn[model, step] = _summarised(
            table, found, hits, languages=languages, spelt=spelt, n_resamples=n_resamples, seed=seed,
            clones=clones,
        )  # fmt: skip
        summaries.append(summary)
        samples.append(sample_texts(table, found, hits))
    contrasts = _contrasts(drawn, against)
    return pd.concat(summaries, ignore_index=True), contrasts, pd.concat(samples, ignore_index=True)


def _contrasts(
    drawn: Mapping[tuple[str, int], Mapping[_Key, _Drawn]], against: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """By step, metric and target what forced texts of a model have more than those of its control."""
    rows = []
    for model, control in against:
        for (name, step), own in drawn.items():
            other = drawn.get((control, step), {}) if name == model else {}
            for condition, target, metric in own.keys() & other.keys():
                if condition == "forced":
                    key = condition, target, metric
                    (row,) = own[key].minus(other[key]).rows("difference")
                    rows.append((model, control, step, target, metric, *row))
    types = {"step": np.int64} | dict.fromkeys(("difference", "low", "high"), np.float64)
    return pd.DataFrame(sorted(rows), columns=CONTRAST_COLUMNS).astype(types)


def summarise_generation(
    texts: pd.DataFrame,
    detected: pd.DataFrame,
    hits: pd.DataFrame,
    *,
    languages: Sequence[str],
    spelt: Spelt,
    n_resamples: int,
    seed: int,
    clones: Clones = NO_CLONES,
) -> pd.DataFrame:
    """Rates, shares and fluency of the texts of one checkpoint.

    =============== =========================================================================
    metric          value
    =============== =========================================================================
    hit_rate        share of texts with a word, in any language, of the concept whose units
                    are forced; unforced: mean over the concepts of the share of texts with a
                    word of the concept; ``other_concept``: the same over the other concepts
    hit_gain        hit_rate of forced texts above that of this condition, paired by language and
                    concept
    hit_share       share of these words that are of the language ``target``
    text_share      share of texts whose language is ``target``; ``und`` texts count
    nll             mean over texts of the nats per token under the unforced model
    degenerate      share of degenerate texts
    =============== =========================================================================

    Intervals of means over source languages draw languages and concepts anew, the same concepts for all
    languages: texts of one language are alike, and the question is what forcing does in any. Both are few,
    so one less than there are is drawn and deviations are widened to Student's quantile, as in
    :func:`babelscope.stats.two_way_interval`. Of one or two languages concepts alone are drawn, of a single
    concept its texts. A test simulates studies and counts.

    Args:
        texts: Table of :func:`babelscope.analysis.generation.generate_step`.
        detected: Table of :func:`babelscope.analysis.identification.identify_languages` for these texts.
        hits: Table of :func:`count_hits` for these texts.
        languages: Languages of the study.
        spelt: Per concept the languages in which its words are known. A text counts for the metrics of hits
            if its concept has words in its source language and in the pivot, where that is in the study: else
            it could say it in words that nobody looked for. Without such texts these metrics are left out.
        n_resamples: Bootstrap resamples; ``seed`` is theirs.
        clones: Those among the languages.

    Returns:
        Columns ``model, step, condition, lang, target, metric, value, low, high, n``. ``lang`` is
        the source language, or ``*`` for all of them (unforced texts have no other). ``target`` is
        a language, ``*`` where a metric has none, and over all sources also ``source``: each text's
        own source language; there the texts with the source English, the pivot, are left out, since their
        source is where texts fall back to, and of ``text_share`` those whose source cannot be identified.
        ``n`` counts texts, or hits for ``hit_share``.

    Raises:
        DataError: If ``detected`` belongs to other texts.
    """
    return _summarised(
        texts, detected, hits, languages=languages, spelt=spelt, n_resamples=n_resamples, seed=seed,
        clones=clones,
    )[0]  # fmt: skip


def _summarised(
    texts: pd.DataFrame,
    detected: pd.DataFrame,
    hits: pd.DataFrame,
    *,
    languages: Sequence[str],
    spelt: Spelt,
    n_resamples: int,
    seed: int,
    clones: Clones,
) -> tuple[pd.DataFrame, dict[_Key, _Drawn]]:
    """The summary, and what was drawn for its rows over all source languages."""
    model, step = texts["model"].iloc[0], int(texts["step"].iloc[0])
    _check_detected(texts, detected, f"languages of the texts of {model}, step {step}")
    table = texts.reset_index(drop=True).assign(language=detected["language"].to_numpy())
    # By name, since they are drawn by place.
    sources = sorted(lang for lang in table["lang"].unique() if lang != ALL)
    pivot = english_among(lang for lang in languages if lang not in clones)
    needed = set() if pivot is None else {pivot}
    known = {(lang, c) for c, langs in spelt.items() for lang in langs if needed <= set(langs)}
    measured = sorted({c for lang, c in known if lang in sources} & set(table["concept"]))
    hits = hits[hits["concept"].isin(measured)]
    identified = [*told_apart(lang for lang in languages if lang not in clones), *clones]
    rows: list[tuple[Any, ...]] = []
    drawn: dict[_Key, _Drawn] = {}
    for condition, part in table.groupby("condition", sort=False):
        here = hits[hits["row"].isin(part.index)]
        group = _Condition(str(condition), part, here, list(languages), measured, known, identified, pivot)
        boot = _Bootstrap(part, n_resamples, seed)
        rows += group.unforced(boot, sources) if condition == "unforced" else group.forced(boot)
        drawn |= group.drawn
    rates = {name: each for (name, _, metric), each in drawn.items() if metric == "hit_rate"}
    rows += _gains(rates, n=int((table["condition"] == "forced").sum()))
    return pd.DataFrame([(model, step, *row) for row in rows], columns=SUMMARY_COLUMNS), drawn


def _gains(rates: Mapping[str, _Drawn], n: int) -> list[_Row]:
    """How far the rate of forced texts lies above that of every other condition; ``n`` forced texts."""
    forced = rates.get("forced")
    if forced is None:
        return []
    gains = {name: forced.minus(other) for name, other in rates.items() if name != "forced"}
    return [(name, ALL, ALL, "hit_gain", *gain.rows("hit_gain")[0], n) for name, gain in gains.items()]


def _check_detected(texts: pd.DataFrame, detected: pd.DataFrame, where: str) -> None:
    crc = [zlib.crc32(text.encode("utf-8")) for text in texts["text"]]
    hint = "remove the file and run again; it is computed anew"
    if len(crc) != len(detected):
        raise DataError(where, f"has {len(detected)} rows for {len(crc)} texts", hint)
    wrong = np.flatnonzero(np.array(crc) != detected["text_crc32"].to_numpy())
    if len(wrong):
        raise DataError(where, f"row {wrong[0]} belongs to another text", hint)


_Row = tuple[Any, ...]
_Key = tuple[str, str, str]
"""Condition, target and metric."""
_Measure = tuple[str, str, Floats, Floats]
"""Condition, metric, and a ratio of sums over texts: above (maybe a column per language), below."""


class _Condition:
    """The texts of one condition, and what was found in them."""

    def __init__(
        self,
        name: str,
        texts: pd.DataFrame,
        hits: pd.DataFrame,
        languages: list[str],
        concepts: list[str],
        known: Collection[tuple[str, str]],
        identified: Collection[str],
        pivot: str | None,
    ) -> None:
        self.name, self.texts, self.hits = name, texts, hits
        self.languages, self.concepts, self.known, self.pivot = languages, concepts, known, pivot
        spelt = {lang for lang, concept in known if concept in concepts}
        #: Languages that a metric can name.
        self.nameable = {"text_share": set(identified), "hit_share": spelt}
        #: Rates of concept words and shares of languages, over all source languages.
        self.drawn: dict[_Key, _Drawn] = {}
        self.one_T, self.every_T = np.ones(len(texts)), np.ones(len(texts), dtype=bool)
        language_T = texts["language"].to_numpy()
        self.in_language_TM = np.asarray(language_T[:, None] == np.array(languages), dtype=np.float64)
        nll_T = texts["nll"].to_numpy(dtype=np.float64)
        degenerate_T = texts["degenerate"].to_numpy(dtype=np.float64)
        #: What needs neither words nor languages.
        self.fluency: list[_Measure] = [
            (name, "nll", np.nan_to_num(nll_T), np.isfinite(nll_T).astype(np.float64)),
            (name, "degenerate", degenerate_T, self.one_T),
        ]

    def _places(self, hits: pd.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Text and language of each hit, as row and column of arrays ``(T, M)``."""
        text_E = self.texts.index.get_indexer(pd.Index(hits["row"]))
        return text_E, pd.Index(self.languages).get_indexer(pd.Index(hits["lang"]))

    def _by_language(self, hits: pd.DataFrame) -> Floats:
        """Hits of each text by language, shape ``(T, M)``."""
        hits_TM = np.zeros((len(self.texts), len(self.languages)))
        np.add.at(hits_TM, self._places(hits), hits["hits"].to_numpy())
        return hits_TM

    def forced(self, boot: _Bootstrap) -> list[_Row]:
        """Summary rows of a condition with a source language and a concept."""
        source_T = self.texts["lang"].to_numpy()
        plain, shares = self._forced_hits() if self.concepts else ([], [])
        shares.append((self.name, "text_share", self.in_language_TM, self.one_T))
        in_source_TM = source_T[:, None] == np.array(self.languages)
        in_pivot_M = np.array([lang == self.pivot for lang in self.languages])
        rows: list[_Row] = []
        for lang in [*dict.fromkeys(source_T), ALL]:
            chosen_T = self.every_T if lang == ALL else source_T == lang
            for name, metric, top_T, below_T in plain + self.fluency:
                drawn = boot.drawn(top_T[:, None], below_T, chosen_T)
                if lang == ALL and metric == "hit_rate":
                    self.drawn[name, ALL, metric] = drawn
                (row,) = drawn.rows(metric)
                rows.append((name, lang, ALL, metric, *row, int((chosen_T & (below_T > 0)).sum())))
            for name, metric, top_TM, below_T in shares:
                nameable, targets, tops = self.nameable[metric], self.languages, top_TM
                if lang == ALL:
                    chosen_T = (source_T != self.pivot) & np.isin(source_T, list(nameable))
                    targets = [SOURCE] if self.pivot is None else [SOURCE, self.pivot]
                    columns = [(top_TM * in_source_TM).sum(1), (top_TM * in_pivot_M).sum(1)]
                    tops = np.stack(columns[: len(targets)], axis=1)
                if not chosen_T.any():
                    continue
                n, drawn = round(float(below_T[chosen_T].sum())), boot.drawn(tops, below_T, chosen_T)
                for at, (target, row) in enumerate(zip(targets, drawn.rows(metric), strict=True)):
                    if target not in nameable and target != SOURCE:
                        continue
                    rows.append((name, lang, target, metric, *row, n))
                    if lang == ALL:
                        self.drawn[name, target, metric] = drawn.column(at)
        return rows

    def _forced_hits(self) -> tuple[list[_Measure], list[_Measure]]:
        """Rates and shares of words of the forced concept; where experts are forced, of the others too."""
        source_T, n_known = self.texts["lang"], Counter(lang for lang, c in self.known if c in self.concepts)
        pairs = zip(source_T, self.texts["concept"], strict=True)
        counted_T = np.array([pair in self.known for pair in pairs], dtype=np.float64)
        pairs = zip(self.hits["row"].map(source_T), self.hits["concept"], strict=True)
        hits = self.hits[np.array([pair in self.known for pair in pairs], dtype=bool)]
        of_own = hits["row"].map(self.texts["concept"]) == hits["concept"]
        own_TM = self._by_language(hits[of_own])
        rates: list[_Measure] = [(self.name, "hit_rate", (own_TM.sum(1) > 0) * counted_T, counted_T)]
        shares: list[_Measure] = [(self.name, "hit_share", own_TM, own_TM.sum(1))]
        if self.name == "forced" and len(self.concepts) > 1:
            others = hits[~of_own]
            n_others = others.groupby("row")["concept"].nunique().reindex(self.texts.index, fill_value=0)
            n_T = source_T.map(n_known).to_numpy(dtype=np.float64) - counted_T
            some_T = (n_T > 0).astype(np.float64)
            rate_T = n_others.to_numpy() / np.maximum(n_T, 1)
            other_TM = self._by_language(others)
            rates.append((OTHER_CONCEPT, "hit_rate", rate_T, some_T))
            shares.append((OTHER_CONCEPT, "hit_share", other_TM, other_TM.sum(1)))
        return rates, shares

    def unforced(self, boot: _Bootstrap, sources: Sequence[str]) -> list[_Row]:
        """Summary rows of texts that belong to no concept: each is asked for every concept."""
        languages, n_texts = self.languages, len(self.texts)
        rows: list[_Row] = []

        def add_shares(metric: str, shares: _Drawn, n: int) -> None:
            nameable = self.nameable[metric]
            for target, row in zip(languages, shares.rows(metric), strict=True):
                if target in nameable:
                    rows.append((self.name, ALL, target, metric, *row, n))
            abroad = [languages.index(lang) for lang in sources if lang != self.pivot and lang in nameable]
            if abroad:  # what a source language would get without forcing, mean over the sources
                (row,) = boot.mean_over(shares, abroad).rows(metric)
                rows.append((self.name, ALL, SOURCE, metric, *row, n))

        if self.concepts:
            rates, shares = self._unforced_hits(boot)
            self.drawn[self.name, ALL, "hit_rate"] = rates
            rows.append((self.name, ALL, ALL, "hit_rate", *rates.rows("hit_rate")[0], n_texts))
            add_shares("hit_share", shares, round(float(self.hits["hits"].sum())))
        add_shares("text_share", boot.drawn(self.in_language_TM, self.one_T, self.every_T), n_texts)
        for _, metric, top_T, below_T in self.fluency:
            (row,) = boot.ratios(metric, top_T[:, None], below_T, self.every_T)
            rows.append((self.name, ALL, ALL, metric, *row, int((below_T > 0).sum())))
        return rows

    def _unforced_hits(self, boot: _Bootstrap) -> tuple[_Drawn, _Drawn]:
        """Share of (text, concept) with a hit; shares of hits by language. Texts and concepts are drawn."""
        n_texts, n_concepts = len(self.texts), len(self.concepts)
        text_E, lang_E = self._places(self.hits)
        concept_E = pd.Index(self.concepts).get_indexer(pd.Index(self.hits["concept"]))
        hits_TC = np.zeros((n_texts, n_concepts))
        hits_TC[text_E, concept_E] = 1.0
        in_language_EM = np.eye(len(self.languages))[lang_E] * self.hits["hits"].to_numpy()[:, None]
        # The same draw of concepts as for forced texts.
        text_RT, concept_RC = boot.weights(n_texts, 2), boot.weights(n_concepts, 0)
        freedom = (n_concepts if n_concepts > 1 else n_texts) - 1
        rates = _Drawn(
            np.array([hits_TC.mean()]), ((text_RT @ hits_TC) * concept_RC).sum(axis=1, keepdims=True), freedom
        )
        by_lang_M = in_language_EM.sum(axis=0)
        by_lang_RM = (text_RT[:, text_E] * concept_RC[:, concept_E]) @ in_language_EM
        shares = _Drawn(_ratio(by_lang_M, by_lang_M.sum()), _ratio(by_lang_RM, by_lang_RM.sum(1)), freedom)
        return rates, shares


class _Drawn(NamedTuple):
    """Values with their resamples."""

    value_M: Floats
    resamples_RM: Floats
    freedom: int
    """One less than the clusters that were drawn."""

    def column(self, at: int) -> _Drawn:
        """One of the values."""
        return _Drawn(self.value_M[[at]], self.resamples_RM[:, [at]], self.freedom)

    def minus(self, other: _Drawn) -> _Drawn:
        """The difference, draw by draw."""
        values = self.value_M - other.value_M, self.resamples_RM - other.resamples_RM
        return _Drawn(*values, min(self.freedom, other.freedom))

    def rows(self, metric: str) -> list[tuple[float, float, float]]:
        """Value, low and high of each."""
        least, most = _BOUNDS.get(metric, (0.0, 1.0))
        found = []
        for value, resamples_R in zip(self.value_M.tolist(), self.resamples_RM.T, strict=True):
            low, high = widened_interval(value, resamples_R, self.freedom)
            if np.isfinite(low):
                low, high = max(least, low), min(most, high)
            found.append((value, low, high))
        return found


class _Bootstrap:
    """Ratios of sums over texts, with resamples that draw source languages, and concepts.

    A language counts as often as it was drawn, times as often as the concept was. The same draws serve all
    conditions and checkpoints of a study, so that differences are paired.
    """

    def __init__(self, texts: pd.DataFrame, n_resamples: int, seed: int) -> None:
        self._n_resamples, self._seed = n_resamples, seed
        self._lang_T = texts.groupby("lang").ngroup().to_numpy()
        of_concept = texts.groupby("concept").ngroup().to_numpy()
        # Of one concept its texts are drawn.
        alone = of_concept.max(initial=0) == 0
        self._item_T = texts.groupby("lang").cumcount().to_numpy() if alone else of_concept

    def weights(self, n: int, axis: int) -> Floats:
        """How often each of ``n`` is drawn, as shares, ``(R, n)``; equal sizes differ by ``axis``."""
        return bootstrap_weights(n, self._n_resamples, self._seed + axis, draws=max(1, n - 1))

    def drawn(self, top_TM: Floats, below_T: Floats, chosen_T: NDArray[np.bool_]) -> _Drawn:
        """Ratios ``(M,)`` of sums over the chosen texts; NaN where there is nothing below."""
        langs, lang_T = np.unique(self._lang_T[chosen_T], return_inverse=True)
        shape = len(langs), int(self._item_T.max()) + 1
        cell_T, n_cells = lang_T * shape[1] + self._item_T[chosen_T], shape[0] * shape[1]
        item_RI = self.weights(shape[1], 0)
        many = len(langs) >= _FEWEST_LANGUAGES
        lang_RL = self.weights(len(langs), 1) if many else np.ones((self._n_resamples, len(langs)))

        def summed(values_T: Floats) -> tuple[float, Floats]:
            cells_LI = np.bincount(cell_T, values_T[chosen_T], minlength=n_cells).reshape(shape)
            return float(cells_LI.sum()), ((lang_RL @ cells_LI) * item_RI).sum(axis=1)

        below, below_R = summed(below_T)
        tops, tops_R = zip(*(summed(column_T) for column_T in top_TM.T), strict=True)
        freedom = (len(langs) if many else shape[1]) - 1
        return _Drawn(_ratio(np.array(tops), below), _ratio(np.stack(tops_R, axis=1), below_R), freedom)

    def mean_over(self, shares: _Drawn, columns: Sequence[int]) -> _Drawn:
        """The mean over some languages, which are drawn too if there are enough."""
        value = shares.value_M[columns].mean(keepdims=True)
        if len(columns) < _FEWEST_LANGUAGES:
            resamples_R1 = shares.resamples_RM[:, columns].mean(axis=1, keepdims=True)
            return _Drawn(value, resamples_R1, shares.freedom)
        lang_RL = self.weights(len(columns), 1)
        resamples_R1 = (shares.resamples_RM[:, columns] * lang_RL).sum(axis=1, keepdims=True)
        return _Drawn(value, resamples_R1, len(columns) - 1)

    def ratios(
        self, metric: str, top_TM: Floats, below_T: Floats, chosen_T: NDArray[np.bool_]
    ) -> list[tuple[float, float, float]]:
        """Value, low and high of each of M ratios."""
        return self.drawn(top_TM, below_T, chosen_T).rows(metric)


def _ratio(top: Floats, below: Any) -> Floats:
    below = np.asarray(below, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(top / (below[:, None] if below.ndim else below))


def sample_texts(texts: pd.DataFrame, detected: pd.DataFrame, hits: pd.DataFrame) -> pd.DataFrame:
    """The first text of each of the first concepts, per condition and source language: not chosen.

    Returns:
        Columns ``model, step, condition, lang, concept, seed, sample, text, prompt_ids, nll,
        language, confidence, degenerate, n_hits`` (words of the text's concept; of any concept if
        nothing is forced).
    """
    columns = {name: detected[name].to_numpy() for name in ("language", "confidence")}
    table = texts.reset_index(drop=True).assign(**columns)
    concept = hits["row"].map(table["concept"])
    counted = hits[(concept == ALL) | (concept == hits["concept"])]
    totals = counted.groupby("row")["hits"].sum().reindex(table.index, fill_value=0.0)
    table["n_hits"] = totals.round().astype(np.int64)
    first = table.groupby(["condition", "lang", "concept"], sort=False).cumcount() == 0
    kept = table[first | (table["concept"] == ALL)].groupby(["condition", "lang"], sort=False)
    return kept.head(SAMPLE_SIZE)[SAMPLE_COLUMNS].reset_index(drop=True)


def count_hits(
    texts: Iterable[str], words: Words, languages: Iterable[str], clones: Clones = NO_CLONES
) -> pd.DataFrame:
    """Words of concepts in texts: columns ``row`` (position of the text), ``concept``, ``lang``, ``hits``.

    Words are found by :mod:`babelscope.text.words`; only the forms that are listed count, no inflected ones.
    Of forms of one concept that overlap the longest counts, from left to right. A form spelt alike in several
    languages counts in equal parts to each of them. A text without hits has no row. Forms of a clone are its
    original's, looked for in what of a text is in the clone's letters.

    Args:
        texts: What is searched.
        words: concept -> language -> forms.
        languages: Languages whose forms are searched.
        clones: Those among the languages.
    """
    finders: dict[str, tuple[WordFinder, int]] = {}
    for lang in sorted(languages):
        original, letters = clones.get(lang, (lang, 0))
        forms = {concept: by_language.get(lang, ()) for concept, by_language in words.items()}
        finders[lang] = WordFinder(forms, original), letters
    rows = []
    for row, text in enumerate(texts):
        found: dict[tuple[int, int, str], list[str]] = {}
        for lang, (finder, letters) in finders.items():
            for each in finder.find(part_of(text, letters)):
                found.setdefault((each.start, each.end, each.concept), []).append(lang)
        hits: dict[tuple[str, str], float] = {}
        for (_, _, concept), langs in found.items():
            for lang in langs:
                hits[concept, lang] = hits.get((concept, lang), 0.0) + 1 / len(langs)
        rows += [(row, *key, n) for key, n in sorted(hits.items())]
    types = {"row": np.int64, "concept": object, "lang": object, "hits": np.float64}
    return pd.DataFrame(rows, columns=list(types)).astype(types)
