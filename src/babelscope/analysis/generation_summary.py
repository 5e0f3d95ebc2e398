"""Generated texts in numbers: how often they hold the forced concept, in which language, how fluent.

Legend: T texts, R resamples, M values (such as languages).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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

#: The summary's target that stands for each text's own source language.
SOURCE = "source"

#: Texts per model, step, condition and source language in the sample for the report.
SAMPLE_SIZE = 8

_WEIGHTS_AT_ONCE = 1 << 23


def collect_generation(
    texts: Mapping[tuple[str, int], pd.DataFrame],
    detected: Mapping[tuple[str, int], pd.DataFrame],
    *,
    words: Path | str,
    languages: Sequence[str],
    n_resamples: int = 500,
    seed: int = 0,
    pivot: str = "en",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Summarise the texts of all checkpoints, and take a sample of them.

    Args:
        texts: Per model and step the table of :func:`babelscope.analysis.generation.generate_step`.
        detected: Per model and step the table of
            :func:`babelscope.analysis.identification.identify_texts`.
        words: JSON file, concept -> language -> forms.
        languages: Languages of the study.
        n_resamples: Bootstrap resamples.
        seed: Of the bootstrap.
        pivot: The language that texts may fall back to.

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
                table,
                found,
                hits,
                languages=languages,
                concepts=spelt,
                n_resamples=n_resamples,
                seed=seed,
                pivot=pivot,
            )
        )
        samples.append(sample_texts(table, found, hits))
    if not summaries:
        return pd.DataFrame(columns=SUMMARY_COLUMNS), pd.DataFrame(columns=SAMPLE_COLUMNS)
    return pd.concat(summaries, ignore_index=True), pd.concat(samples, ignore_index=True)


SUMMARY_COLUMNS = [
    "model", "step", "condition", "lang", "target", "metric", "value", "low", "high", "n",
]  # fmt: skip

SAMPLE_COLUMNS = [
    "model", "step", "condition", "lang", "concept", "seed", "sample", "text", "prompt_ids", "nll",
    "language", "confidence", "degenerate", "n_hits",
]  # fmt: skip


def summarise_generation(
    texts: pd.DataFrame,
    detected: pd.DataFrame,
    hits: pd.DataFrame,
    *,
    languages: Sequence[str],
    concepts: Sequence[str],
    n_resamples: int = 500,
    seed: int = 0,
    pivot: str = "en",
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
        pivot: The language that texts may fall back to.

    Returns:
        Columns ``model, step, condition, lang, target, metric, value, low, high, n``. ``lang`` is
        the source language, or ``*`` for all of them (unforced texts have no other). ``target`` is
        a language, ``*`` where a metric has none, and over all sources also ``source``: each text's
        own source language; there the texts with the source ``pivot`` are left out, since their
        source is where texts fall back to. ``n`` counts texts, or hits for ``hit_share``.

    Raises:
        DataError: If ``detected`` belongs to other texts.
    """
    model, step = texts["model"].iloc[0], int(texts["step"].iloc[0])
    _check_detected(texts, detected, f"languages of the texts of {model}, step {step}")
    table = texts.reset_index(drop=True)
    language = detected["language"].to_numpy()
    sources = [s for s in table.loc[table["lang"] != ALL, "lang"].unique()]
    used = list(table.loc[table["concept"] != ALL, "concept"].unique())
    measured = [concept for concept in used if concept in set(concepts)]
    hits = hits[hits["concept"].isin(measured)]
    rng = np.random.default_rng([seed, zlib.crc32(f"{model}/{step}".encode())])
    out: list[tuple[Any, ...]] = []
    for condition, part in table.groupby("condition", sort=False):
        rows = part.index.to_numpy()
        here = hits[hits["row"].isin(rows)]
        if condition == "unforced":
            found = _unforced(
                part, language[rows], here, languages=languages, sources=sources,
                concepts=measured, n_resamples=n_resamples, rng=rng, pivot=pivot,
            )  # fmt: skip
        else:
            found = _forced(
                str(condition), part, language[rows], here, languages=languages,
                concepts=measured, n_resamples=n_resamples, rng=rng, pivot=pivot,
            )  # fmt: skip
        out += found
    return pd.DataFrame([(model, step, *row) for row in out], columns=SUMMARY_COLUMNS)


def _check_detected(texts: pd.DataFrame, detected: pd.DataFrame, where: str) -> None:
    crc = [zlib.crc32(text.encode("utf-8")) for text in texts["text"]]
    hint = "remove the file and run again; it is computed anew"
    if len(crc) != len(detected):
        raise DataError(where, f"has {len(detected)} rows for {len(crc)} texts", hint)
    wrong = np.flatnonzero(np.array(crc) != detected["text_crc32"].to_numpy())
    if len(wrong):
        raise DataError(where, f"row {wrong[0]} belongs to another text", hint)


def _by_language(rows: NDArray[np.int64], hits: pd.DataFrame, languages: Sequence[str]) -> Floats:
    """Hits of each of ``rows`` by language, shape ``(T, M)``."""
    place = {int(row): at for at, row in enumerate(rows)}
    column = {lang: at for at, lang in enumerate(languages)}
    out = np.zeros((len(rows), len(languages)))
    at = hits["row"].map(place).to_numpy(dtype=np.int64)
    np.add.at(out, (at, hits["lang"].map(column).to_numpy(dtype=np.int64)), hits["hits"].to_numpy())
    return out


def _forced(
    condition: str,
    part: pd.DataFrame,
    language: NDArray[Any],
    hits: pd.DataFrame,
    *,
    languages: Sequence[str],
    concepts: Sequence[str],
    n_resamples: int,
    rng: np.random.Generator,
    pivot: str,
) -> list[tuple[Any, ...]]:
    """Summary rows of a condition with a source language and a concept."""
    rows = part.index.to_numpy()
    source = part["lang"].to_numpy()
    own = dict(zip(rows, part["concept"], strict=True))
    of_own = hits["row"].map(own) == hits["concept"]
    in_source = source[:, None] == np.array(languages)[None, :]
    in_pivot = np.array(languages) == pivot
    one = np.ones(len(rows))
    counted = part["concept"].isin(concepts).to_numpy().astype(np.float64)

    # Condition, metric, what is summed above and below; the ratio of the sums is the value.
    plain: list[tuple[str, str, Floats, Floats]] = []
    shares: list[tuple[str, str, Floats, Floats]] = []
    if concepts:
        hits_TM = _by_language(rows, hits[of_own], languages)
        plain.append((condition, "hit_rate", (hits_TM.sum(1) > 0) * counted, counted))
        shares.append((condition, "hit_share", hits_TM, hits_TM.sum(1)))
        if condition == "forced" and len(concepts) > 1:
            others = hits[~of_own]
            n_others = others.groupby("row")["concept"].nunique().reindex(rows, fill_value=0)
            possible = len(concepts) - counted
            plain.append((OTHER_CONCEPT, "hit_rate", n_others.to_numpy() / possible, one))
            other_TM = _by_language(rows, others, languages)
            shares.append((OTHER_CONCEPT, "hit_share", other_TM, other_TM.sum(1)))
    language_TM = (language[:, None] == np.array(languages)[None, :]).astype(np.float64)
    shares.append((condition, "text_share", language_TM, one))
    plain += _fluency(condition, part)

    out: list[tuple[Any, ...]] = []
    boot = _Bootstrap(part["concept"].to_numpy(), source, n_resamples, rng)
    everywhere = np.ones(len(rows), dtype=bool)
    for lang in [*dict.fromkeys(source), ALL]:
        chosen = everywhere if lang == ALL else source == lang
        for name, metric, top_T, below_T in plain:
            (row,) = boot.ratios(top_T[:, None], below_T, chosen)
            out.append((name, lang, ALL, metric, *row, int((chosen & (below_T > 0)).sum())))
        for name, metric, top_TM, below_T in shares:
            targets, tops = list(languages), top_TM
            if lang == ALL:
                chosen = source != pivot
                targets = [SOURCE, pivot] if pivot in languages else [SOURCE]
                columns = [(top_TM * in_source).sum(1), (top_TM * in_pivot).sum(1)]
                tops = np.stack(columns[: len(targets)], axis=1)
            if not chosen.any():
                continue
            n = round(float(below_T[chosen].sum()))
            for target, row in zip(targets, boot.ratios(tops, below_T, chosen), strict=True):
                out.append((name, lang, target, metric, *row, n))
    return out


def _unforced(
    part: pd.DataFrame,
    language: NDArray[Any],
    hits: pd.DataFrame,
    *,
    languages: Sequence[str],
    sources: Sequence[str],
    concepts: Sequence[str],
    n_resamples: int,
    rng: np.random.Generator,
    pivot: str,
) -> list[tuple[Any, ...]]:
    """Summary rows of texts that belong to no concept: each is asked for every concept."""
    rows = part.index.to_numpy()
    n_texts, one = len(rows), np.ones(len(rows))
    boot = _Bootstrap(np.zeros(n_texts), np.zeros(n_texts), n_resamples, rng)
    everywhere = np.ones(n_texts, dtype=bool)
    abroad = [languages.index(lang) for lang in sources if lang != pivot and lang in languages]
    out: list[tuple[Any, ...]] = []

    def add_shares(metric: str, shares_RM: Floats, n: int) -> None:
        """Row 0 of ``shares_RM`` is the value, the others are resamples."""
        for column, target in enumerate(languages):
            values = shares_RM[:, column]
            out.append(("unforced", ALL, target, metric, values[0], *interval(values[1:]), n))
        if abroad:  # what a source language would get without forcing, mean over the sources
            values = shares_RM[:, abroad].mean(axis=1)
            out.append(("unforced", ALL, SOURCE, metric, values[0], *interval(values[1:]), n))

    if concepts:
        place = {int(row): at for at, row in enumerate(rows)}
        number = {concept: at for at, concept in enumerate(concepts)}
        column = {lang: at for at, lang in enumerate(languages)}
        text_E = hits["row"].map(place).to_numpy(dtype=np.int64)
        concept_E = hits["concept"].map(number).to_numpy(dtype=np.int64)
        lang_E = hits["lang"].map(column).to_numpy(dtype=np.int64)
        hits_TC = np.zeros((n_texts, len(concepts)))
        hits_TC[text_E, concept_E] = 1.0
        rates, shares = [], []
        for resample in range(n_resamples + 1):
            concept_C, text_T = np.ones(len(concepts)), one
            if resample:
                concept_C = rng.multinomial(len(concepts), _equal(len(concepts))).astype(float)
                text_T = rng.multinomial(n_texts, _equal(n_texts)).astype(float)
            rates.append(float(text_T @ hits_TC @ concept_C) / hits_TC.size)
            weight_E = hits["hits"].to_numpy() * text_T[text_E] * concept_C[concept_E]
            by_lang = np.bincount(lang_E, weights=weight_E, minlength=len(languages))
            total = by_lang.sum()
            shares.append(by_lang / total if total else np.full(len(languages), np.nan))
        value, low, high = rates[0], *interval(np.array(rates[1:]))
        out.append(("unforced", ALL, ALL, "hit_rate", value, low, high, n_texts))
        add_shares("hit_share", np.array(shares), round(float(hits["hits"].sum())))
    language_TM = (language[:, None] == np.array(languages)[None, :]).astype(np.float64)
    add_shares("text_share", boot.resampled(language_TM, one, everywhere), n_texts)
    for name, metric, top_T, below_T in _fluency("unforced", part):
        (row,) = boot.ratios(top_T[:, None], below_T, everywhere)
        out.append((name, ALL, ALL, metric, *row, int((below_T > 0).sum())))
    return out


def _fluency(condition: str, part: pd.DataFrame) -> list[tuple[str, str, Floats, Floats]]:
    nll = part["nll"].to_numpy(dtype=np.float64)
    there = np.isfinite(nll).astype(np.float64)
    one = np.ones(len(part))
    return [
        (condition, "nll", np.nan_to_num(nll), there),
        (condition, "degenerate", part["degenerate"].to_numpy(dtype=np.float64), one),
    ]


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
        self._n_resamples = n_resamples
        self._seed = int(rng.integers(1 << 62))
        self._kept: list[Floats] | None = None

    def _weights(self) -> Iterable[Floats]:
        if (self._n_resamples + 1) * len(self._concept_T) > _WEIGHTS_AT_ONCE:
            return self._draw()
        if self._kept is None:
            self._kept = list(self._draw())
        return self._kept

    def _draw(self) -> Iterator[Floats]:
        """Blocks of shape ``(R, T)``; the very first row is all ones: the sample itself."""
        rng = np.random.default_rng(self._seed)
        n_texts = len(self._concept_T)
        yield np.ones((1, n_texts))
        left = self._n_resamples
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
