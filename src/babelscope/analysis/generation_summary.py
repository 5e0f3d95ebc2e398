"""Generated texts in numbers: how often they hold the forced concept, in which language, how fluent.

Legend: T texts, R resamples, M values (such as languages).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.texts import Words, count_hits
from babelscope.errors import DataError
from babelscope.stats import interval

Floats = NDArray[np.float64]

#: Summary over all source languages, or no target language.
ALL = "*"

#: The condition of forced texts in which words of the other concepts are counted.
OTHER_CONCEPT = "other_concept"

#: The language that texts may fall back to.
PIVOT = "en"

#: The summary's target that stands for each text's own source language.
SOURCE = "source"

#: Texts per model, step, condition and source language in the sample for the report.
SAMPLE_SIZE = 8

_WEIGHTS_AT_ONCE = 1 << 23


SUMMARY_COLUMNS = [
    "model", "step", "condition", "lang", "target", "metric", "value", "low", "high", "n",
]  # fmt: skip

SAMPLE_COLUMNS = [
    "model", "step", "condition", "lang", "concept", "seed", "sample", "text", "prompt_ids", "nll",
    "language", "confidence", "degenerate", "n_hits",
]  # fmt: skip


def collect_generation(
    texts: Mapping[tuple[str, int], pd.DataFrame],
    detected: Mapping[tuple[str, int], pd.DataFrame],
    *,
    words: Path | str,
    languages: Sequence[str],
    n_resamples: int = 500,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Summarise the texts of all checkpoints, and take a sample of them.

    Args:
        texts: Per model and step the table of :func:`babelscope.analysis.generation.generate_step`.
        detected: Per model and step the table of
            :func:`babelscope.analysis.identification.identify_languages`.
        words: JSON file, concept -> language -> forms.
        languages: Languages of the study.
        n_resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        The summary of :func:`summarise_generation`, and the sample of :func:`sample_texts`.

    Raises:
        DataError: If the words cannot be read, or the languages of a checkpoint are missing or belong to
            other texts.
    """
    path = Path(words)
    try:
        known: Words = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(path, f"cannot be read: {error}") from error
    spelt = [c for c, forms in known.items() if any(forms.get(lang) for lang in languages)]
    summaries, samples = [], []
    for (model, step), table in texts.items():
        if (model, step) not in detected:
            raise DataError("languages of texts", f"are not there for {model}, step {step}")
        found = detected[model, step]
        hits = count_hits(table["text"], known, languages)
        summaries.append(
            summarise_generation(
                table, found, hits, languages=languages, concepts=spelt, n_resamples=n_resamples,
                seed=seed,
            )
        )  # fmt: skip
        samples.append(sample_texts(table, found, hits))
    if not summaries:
        return pd.DataFrame(columns=SUMMARY_COLUMNS), pd.DataFrame(columns=SAMPLE_COLUMNS)
    return pd.concat(summaries, ignore_index=True), pd.concat(samples, ignore_index=True)


def summarise_generation(
    texts: pd.DataFrame,
    detected: pd.DataFrame,
    hits: pd.DataFrame,
    *,
    languages: Sequence[str],
    concepts: Sequence[str],
    n_resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Rates, shares and fluency of the texts of one checkpoint.

    =============== =========================================================================
    metric          value
    =============== =========================================================================
    hit_rate        share of texts with a word, in any language, of the concept whose units
                    are forced; unforced: mean over the concepts of the share of texts with a
                    word of the concept; ``other_concept``: the same over the other concepts
    hit_share       share of these words that are of the language ``target``
    text_share      share of texts whose language is ``target``; ``und`` texts count
    nll             mean over texts of the nats per token under the unforced model
    degenerate      share of degenerate texts
    =============== =========================================================================

    Intervals are 95 % percentiles of a bootstrap that draws concepts and, within each concept and
    source language, texts; the same concepts for all languages.

    Args:
        texts: Table of :func:`babelscope.analysis.generation.generate_step`.
        detected: Table of :func:`babelscope.analysis.identification.identify_languages` for these texts.
        hits: Table of :func:`count_hits` for these texts.
        languages: Languages of the study.
        concepts: Concepts that have words; without any, the metrics of hits are left out.
        n_resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        Columns ``model, step, condition, lang, target, metric, value, low, high, n``. ``lang`` is
        the source language, or ``*`` for all of them (unforced texts have no other). ``target`` is
        a language, ``*`` where a metric has none, and over all sources also ``source``: each text's
        own source language; there the texts with the source English are left out, since their
        source is where texts fall back to. ``n`` counts texts, or hits for ``hit_share``.

    Raises:
        DataError: If ``detected`` belongs to other texts.
    """
    model, step = texts["model"].iloc[0], int(texts["step"].iloc[0])
    _check_detected(texts, detected, f"languages of the texts of {model}, step {step}")
    table = texts.reset_index(drop=True).assign(language=detected["language"].to_numpy())
    sources = [lang for lang in table["lang"].unique() if lang != ALL]
    measured = [c for c in table["concept"].unique() if c != ALL and c in set(concepts)]
    hits = hits[hits["concept"].isin(measured)]
    rng = np.random.default_rng([seed, zlib.crc32(f"{model}/{step}".encode())])
    rows: list[tuple[Any, ...]] = []
    for condition, part in table.groupby("condition", sort=False):
        here = hits[hits["row"].isin(part.index)]
        group = _Group(str(condition), part, here, list(languages), measured)
        boot = _Bootstrap(part["concept"].to_numpy(), part["lang"].to_numpy(), n_resamples, rng)
        if condition == "unforced":
            rows += _unforced(group, boot, sources, rng)
        else:
            rows += _forced(group, boot)
    return pd.DataFrame([(model, step, *row) for row in rows], columns=SUMMARY_COLUMNS)


def _check_detected(texts: pd.DataFrame, detected: pd.DataFrame, where: str) -> None:
    crc = [zlib.crc32(text.encode("utf-8")) for text in texts["text"]]
    hint = "remove the file and run again; it is computed anew"
    if len(crc) != len(detected):
        raise DataError(where, f"has {len(detected)} rows for {len(crc)} texts", hint)
    wrong = np.flatnonzero(np.array(crc) != detected["text_crc32"].to_numpy())
    if len(wrong):
        raise DataError(where, f"row {wrong[0]} belongs to another text", hint)


@dataclass(frozen=True)
class _Group:
    """The texts of one condition, and what was found in them; arrays are ``(T, M)``, M languages."""

    condition: str
    texts: pd.DataFrame
    """With the column ``language``: the one that was identified."""
    hits: pd.DataFrame
    """Hits in these texts, of the concepts that have words."""
    languages: list[str]
    concepts: list[str]
    """The concepts that have words."""

    @property
    def one_T(self) -> Floats:
        return np.ones(len(self.texts))

    def in_language(self) -> Floats:
        """1 where the text is in the language."""
        language_T = self.texts["language"].to_numpy()
        return np.asarray(language_T[:, None] == np.array(self.languages), dtype=np.float64)

    def places(self, hits: pd.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Text and language of each hit, as row and column of arrays ``(T, M)``."""
        return self.texts.index.get_indexer(pd.Index(hits["row"])), pd.Index(self.languages).get_indexer(
            pd.Index(hits["lang"])
        )

    def by_language(self, hits: pd.DataFrame) -> Floats:
        """Hits of each text by language, shape ``(T, M)``."""
        hits_TM = np.zeros((len(self.texts), len(self.languages)))
        np.add.at(hits_TM, self.places(hits), hits["hits"].to_numpy())
        return hits_TM

    def fluency(self) -> list[_Measure]:
        """What needs neither words nor languages."""
        nll = self.texts["nll"].to_numpy(dtype=np.float64)
        there = np.isfinite(nll).astype(np.float64)
        degenerate = self.texts["degenerate"].to_numpy(dtype=np.float64)
        return [
            _Measure(self.condition, "nll", np.nan_to_num(nll), there),
            _Measure(self.condition, "degenerate", degenerate, self.one_T),
        ]


class _Measure(NamedTuple):
    """A metric as a ratio of sums over texts."""

    condition: str
    metric: str
    top: Floats
    """Shape ``(T,)``, or ``(T, M)`` for a share of each language."""
    below_T: Floats


def _forced(group: _Group, boot: _Bootstrap) -> list[tuple[Any, ...]]:
    """Summary rows of a condition with a source language and a concept."""
    source = group.texts["lang"].to_numpy()
    plain, shares = _forced_hits(group) if group.concepts else ([], [])
    plain += group.fluency()
    shares.append(_Measure(group.condition, "text_share", group.in_language(), group.one_T))
    in_source = source[:, None] == np.array(group.languages)
    in_pivot = np.array(group.languages) == PIVOT
    everywhere = np.ones(len(source), dtype=bool)
    out: list[tuple[Any, ...]] = []
    for lang in [*dict.fromkeys(source), ALL]:
        chosen = everywhere if lang == ALL else source == lang
        for name, metric, top_T, below_T in plain:
            (row,) = boot.ratios(top_T[:, None], below_T, chosen)
            out.append((name, lang, ALL, metric, *row, int((chosen & (below_T > 0)).sum())))
        for name, metric, top_TM, below_T in shares:
            targets, tops = group.languages, top_TM
            if lang == ALL:
                chosen = source != PIVOT
                targets = [SOURCE, PIVOT] if PIVOT in group.languages else [SOURCE]
                columns = [(top_TM * in_source).sum(1), (top_TM * in_pivot).sum(1)]
                tops = np.stack(columns[: len(targets)], axis=1)
            if not chosen.any():
                continue
            n = round(float(below_T[chosen].sum()))
            for target, row in zip(targets, boot.ratios(tops, below_T, chosen), strict=True):
                out.append((name, lang, target, metric, *row, n))
    return out


def _forced_hits(group: _Group) -> tuple[list[_Measure], list[_Measure]]:
    """Rates and shares of words of the forced concept; where its experts are forced, of the others too."""
    texts, hits = group.texts, group.hits
    of_own = hits["row"].map(texts["concept"]) == hits["concept"]
    counted = texts["concept"].isin(group.concepts).to_numpy().astype(np.float64)
    own_TM = group.by_language(hits[of_own])
    rates = [_Measure(group.condition, "hit_rate", (own_TM.sum(1) > 0) * counted, counted)]
    shares = [_Measure(group.condition, "hit_share", own_TM, own_TM.sum(1))]
    if group.condition == "forced" and len(group.concepts) > 1:
        others = hits[~of_own]
        n_others = others.groupby("row")["concept"].nunique().reindex(texts.index, fill_value=0)
        possible = len(group.concepts) - counted
        other_TM = group.by_language(others)
        rates.append(_Measure(OTHER_CONCEPT, "hit_rate", n_others.to_numpy() / possible, group.one_T))
        shares.append(_Measure(OTHER_CONCEPT, "hit_share", other_TM, other_TM.sum(1)))
    return rates, shares


def _unforced(
    group: _Group, boot: _Bootstrap, sources: Sequence[str], rng: np.random.Generator
) -> list[tuple[Any, ...]]:
    """Summary rows of texts that belong to no concept: each is asked for every concept."""
    languages, n_texts = group.languages, len(group.texts)
    abroad = [languages.index(lang) for lang in sources if lang != PIVOT and lang in languages]
    everywhere = np.ones(n_texts, dtype=bool)
    out: list[tuple[Any, ...]] = []

    def add(target: str, metric: str, values_R: Floats, n: int) -> None:
        """The first value is that of the sample, the others are resamples."""
        out.append(("unforced", ALL, target, metric, values_R[0], *interval(values_R[1:]), n))

    def add_shares(metric: str, shares_RM: Floats, n: int) -> None:
        for target, values_R in zip(languages, shares_RM.T, strict=True):
            add(target, metric, values_R, n)
        if abroad:  # what a source language would get without forcing, mean over the sources
            add(SOURCE, metric, shares_RM[:, abroad].mean(axis=1), n)

    if group.concepts:
        rates_R, shares_RM = _unforced_hits(group, boot.n_resamples, rng)
        add(ALL, "hit_rate", rates_R, n_texts)
        add_shares("hit_share", shares_RM, round(float(group.hits["hits"].sum())))
    add_shares("text_share", boot.resampled(group.in_language(), group.one_T, everywhere), n_texts)
    for name, metric, top_T, below_T in group.fluency():
        (row,) = boot.ratios(top_T[:, None], below_T, everywhere)
        out.append((name, ALL, ALL, metric, *row, int((below_T > 0).sum())))
    return out


def _unforced_hits(group: _Group, n_resamples: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Share of (text, concept) with a hit, ``(1 + R,)``, and shares of hits by language, ``(1 + R, M)``."""
    n_texts, n_concepts, n_languages = len(group.texts), len(group.concepts), len(group.languages)
    text_E, lang_E = group.places(group.hits)
    concept_E = pd.Index(group.concepts).get_indexer(pd.Index(group.hits["concept"]))
    hits_TC = np.zeros((n_texts, n_concepts))
    hits_TC[text_E, concept_E] = 1.0
    rates, shares = [], []
    for resample in range(n_resamples + 1):
        concept_C, text_T = np.ones(n_concepts), group.one_T
        if resample:
            concept_C = rng.multinomial(n_concepts, _equal(n_concepts)).astype(float)
            text_T = rng.multinomial(n_texts, _equal(n_texts)).astype(float)
        rates.append(float(text_T @ hits_TC @ concept_C) / hits_TC.size)
        weight_E = group.hits["hits"].to_numpy() * text_T[text_E] * concept_C[concept_E]
        by_lang = np.bincount(lang_E, weights=weight_E, minlength=n_languages)
        total = by_lang.sum()
        shares.append(by_lang / total if total else np.full(n_languages, np.nan))
    return np.array(rates), np.array(shares)


def _equal(n: int) -> Floats:
    """Equal probabilities of ``n`` things."""
    return np.full(n, 1 / n)


class _Bootstrap:
    """Weights of texts in resamples: concepts are drawn, and texts within (concept, source)."""

    def __init__(
        self,
        concepts: NDArray[Any],
        sources: NDArray[Any],
        n_resamples: int,
        rng: np.random.Generator,
    ) -> None:
        _, concept_T = np.unique(concepts, return_inverse=True)
        _, source_T = np.unique(sources, return_inverse=True)
        cell_T = concept_T * (source_T.max() + 1) + source_T
        self._order = np.argsort(cell_T, kind="stable")
        _, self._starts, self._sizes = np.unique(cell_T[self._order], return_index=True, return_counts=True)
        self._concept_T = concept_T
        self._n_concepts = int(concept_T.max()) + 1
        self.n_resamples = n_resamples
        self._seed = int(rng.integers(1 << 62))
        self._kept: list[Floats] | None = None

    def _weights(self) -> Iterable[Floats]:
        if (self.n_resamples + 1) * len(self._concept_T) > _WEIGHTS_AT_ONCE:
            return self._draw()
        if self._kept is None:
            self._kept = list(self._draw())
        return self._kept

    def _draw(self) -> Iterator[Floats]:
        """Blocks of shape ``(R, T)``; the very first row is all ones: the sample itself."""
        rng = np.random.default_rng(self._seed)
        n_texts = len(self._concept_T)
        yield np.ones((1, n_texts))
        left = self.n_resamples
        size = np.repeat(self._sizes, self._sizes)
        start = np.repeat(self._starts, self._sizes)
        while left > 0:
            n = min(left, max(1, _WEIGHTS_AT_ONCE // n_texts))
            drawn = start + (rng.random((n, n_texts)) * size).astype(np.int64)
            flat = drawn + n_texts * np.arange(n)[:, None]
            counts = np.bincount(flat.ravel(), minlength=n * n_texts).reshape(n, n_texts)
            weights = np.empty((n, n_texts))
            weights[:, self._order] = counts
            by_concept = rng.multinomial(self._n_concepts, _equal(self._n_concepts), size=n)
            weights *= by_concept[:, self._concept_T]
            yield weights
            left -= n

    def resampled(self, top_TM: Floats, below_T: Floats, chosen: NDArray[np.bool_]) -> Floats:
        """Ratios of weighted sums, shape ``(1 + R, M)``; NaN where there is nothing below."""
        parts = []
        for weights_RT in self._weights():
            of_chosen = weights_RT[:, chosen]
            below_R1 = (of_chosen @ below_T[chosen])[:, None]
            with np.errstate(invalid="ignore", divide="ignore"):
                parts.append((of_chosen @ top_TM[chosen]) / below_R1)
        return np.concatenate(parts)

    def ratios(
        self, top_TM: Floats, below_T: Floats, chosen: NDArray[np.bool_]
    ) -> list[tuple[float, float, float]]:
        """Value, low and high of each of M ratios."""
        found = self.resampled(top_TM, below_T, chosen)
        return [(float(v[0]), *interval(v[1:])) for v in found.T]


def sample_texts(texts: pd.DataFrame, detected: pd.DataFrame, hits: pd.DataFrame) -> pd.DataFrame:
    """The first text of each of the first concepts, per condition and source language: not chosen.

    Returns:
        Columns ``model, step, condition, lang, concept, seed, sample, text, prompt_ids, nll,
        language, confidence, degenerate, n_hits`` (words of the text's concept; of any concept if
        nothing is forced).
    """
    table = texts.reset_index(drop=True)
    table["language"] = detected["language"].to_numpy()
    table["confidence"] = detected["confidence"].to_numpy()
    concept = hits["row"].map(table["concept"])
    counted = hits[(concept == ALL) | (concept == hits["concept"])]
    totals = counted.groupby("row")["hits"].sum().reindex(table.index, fill_value=0.0)
    table["n_hits"] = totals.round().astype(np.int64)
    first = table.groupby(["condition", "lang", "concept"], sort=False).cumcount() == 0
    of_none = table["concept"] == ALL
    kept = table[first | of_none]
    return (
        kept.groupby(["condition", "lang"], sort=False)
        .head(SAMPLE_SIZE)[SAMPLE_COLUMNS]
        .reset_index(drop=True)
    )
