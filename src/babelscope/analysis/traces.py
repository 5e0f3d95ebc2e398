"""Traces: what chosen units do on every token of a few sentences, over training.

The sentences of a unit are chosen once in every language, at one step, and held over all steps, so that what
is seen to change is the model. Beside those on which the unit is strongest stand some at random and the
lowest, and every one has its quantile among all sentences of its language at the step: the strongest alone
would make any unit look as if it meant something. Names of shapes: ``N`` sentences, ``G`` tokens as they are
shown, ``K`` units.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.analysis.settings import TraceSettings
from babelscope.capture.inputs import encode_sentences
from babelscope.capture.settings import ExtractionSettings
from babelscope.capture.token_bounds import ShownTokens, shown_tokens
from babelscope.capture.tracing import TracedBatch, pooled_units, traced_batches
from babelscope.models.checkpoints import LoadedModel
from babelscope.units import unit_name

logger = logging.getLogger(__name__)

#: What a sentence was chosen for.
KINDS = ("strongest", "random", "lowest")
_UNIT = ["layer", "site", "unit"]
_CHOSEN = ("model", "step", *_UNIT, "concept", "lang", "kind", "rank", "sentence", "positive")
_COLUMNS = (*_CHOSEN, "text", "starts", "ends", "values", "value", "quantile")


def choose_sentences(
    loaded: LoadedModel,
    units: pd.DataFrame,
    sentences: Sequence[tuple[str, str]],
    positive: Mapping[str, Sequence[tuple[str, str]]],
    *,
    model: str,
    step: int,
    lang: str,
    settings: TraceSettings,
    extraction: ExtractionSettings,
    seed: int,
) -> pd.DataFrame:
    """Choose the sentences on which units are traced, in one language.

    Equal values go by lot, by an order of the sentences that is drawn for each unit and language. Random
    sentences are drawn among those that are neither the strongest nor the lowest. Where there are too few
    sentences the strongest are chosen first, then the lowest.

    Args:
        loaded: The checkpoint.
        units: The units: ``layer, site, unit, concept``.
        sentences: Id and text of all sentences of the language.
        positive: By concept those that express it.
        model: Run id.
        step: Training step of the checkpoint.
        lang: The language.
        settings: How many are chosen.
        extraction: How activations are extracted.
        seed: Of the lots.

    Returns:
        Columns ``model, step, layer, site, unit, concept, lang, kind`` (strongest, random, lowest), ``rank``
        (1 is the first of its kind), ``sentence, positive`` (whether it expresses the concept).

    Raises:
        DataError: If a sentence has no token, or an id stands twice.
        NumericsError: If a value is not finite.
    """
    where, ids = f"model {model}, step {step}, sentences of {lang}", [name for name, _ in sentences]
    values_NK = pooled_units(loaded, sentences, _places(units), extraction, where=where)
    expressed = {concept: {name for name, _ in own} for concept, own in positive.items()}
    rows: list[tuple[Any, ...]] = []
    for place, concept, values_N in zip(_places(units), units["concept"], values_NK.T, strict=True):
        name = zlib.crc32(f"traces/{lang}/{unit_name(*place)}".encode())
        chosen = sentences_of(values_N, settings, np.random.default_rng([seed, name]))
        for kind, of_kind in chosen.items():
            for rank, row in enumerate(of_kind.tolist(), 1):
                about = (concept, lang, kind, rank, ids[row], ids[row] in expressed.get(concept, ()))
                rows.append((model, step, *place, *about))
    return pd.DataFrame(rows, columns=list(_CHOSEN))


def sentences_of(
    values_N: NDArray[Any], settings: TraceSettings, rng: np.random.Generator
) -> dict[str, NDArray[np.intp]]:
    """By kind the sentences of one unit, as :func:`choose_sentences` says; each is chosen once.

    Args:
        values_N: Pooled value on each sentence.
        settings: How many are chosen.
        rng: Draws the lots, and then the random sentences, whose draw knows nothing of the lots.
    """
    lot_N, drawn_N = (rng.permutation(len(values_N)) for _ in range(2))
    order = np.lexsort((lot_N, -values_N))
    strongest, others = order[: settings.strongest], order[settings.strongest :]
    lowest = others[::-1][: settings.lowest]
    rest = drawn_N[~np.isin(drawn_N, np.concatenate([strongest, lowest]))]
    return dict(zip(KINDS, (strongest, rest[: settings.random], lowest), strict=True))


def trace_step(
    loaded: LoadedModel,
    chosen: pd.DataFrame,
    sentences: Mapping[str, Sequence[tuple[str, str]]],
    *,
    step: int,
    settings: ExtractionSettings,
) -> pd.DataFrame:
    """Run a checkpoint over all sentences and keep what the units do on the chosen ones.

    Args:
        loaded: The checkpoint.
        chosen: The table of :func:`choose_sentences`, of one model and all languages.
        sentences: By language id and text of all its sentences.
        step: Training step of the checkpoint.
        settings: How activations are extracted.

    Returns:
        One row per row of ``chosen``: its columns, ``step`` being that of the checkpoint; ``text``;
        ``starts`` and ``ends`` of the tokens in it, in UTF-16 code units, where parts of one character are
        one token; ``values``: the unit at each token, the largest of those that are one; ``value``: pooled
        as the study pools; ``quantile``: share of the other sentences of the language with a lower pooled
        value, equal ones counted half.

    Raises:
        DataError: If a sentence has no token, or an id stands twice.
        NumericsError: If a value is not finite.
    """
    parts = []
    for lang, of_lang in chosen.groupby("lang", sort=False):
        where = f"model {chosen['model'].iloc[0]}, step {step}, sentences of {lang}"
        parts.append(_trace_language(loaded, of_lang, sentences[str(lang)], settings, where=where))
    logger.info("%s step %d: traced %d sentences", chosen["model"].iloc[0], step, len(chosen))
    return pd.concat(parts, ignore_index=True).assign(step=step)[list(_COLUMNS)]


def _trace_language(
    loaded: LoadedModel,
    chosen: pd.DataFrame,
    sentences: Sequence[tuple[str, str]],
    settings: ExtractionSettings,
    *,
    where: str,
) -> pd.DataFrame:
    """The same of one language."""
    encoded = encode_sentences(
        loaded, sentences, max_length=settings.max_length, where=where, prefix=settings.prefix, bounds=True
    )
    row_of = {name: row for row, name in enumerate(encoded.sentence_ids)}
    places = list(dict.fromkeys(_places(chosen)))
    unit_R = [places.index(place) for place in _places(chosen)]
    sentence_R = [row_of[name] for name in chosen["sentence"]]
    shown = {row: shown_tokens(sentences[row][1], encoded.bounds[row]) for row in set(sentence_R)}
    pooled_NK = np.empty((len(sentences), len(places)), np.float32)
    values: dict[int, NDArray[np.float32]] = {}
    for batch in traced_batches(loaded, encoded, places, settings, where=where):
        pooled_NK[batch.rows] = batch.pooled_BK
        values |= _shown_values(batch, shown)
    lists: dict[str, list[Any]] = {
        "starts": [shown[row].start_G for row in sentence_R],
        "ends": [shown[row].end_G for row in sentence_R],
        "values": [
            np.ascontiguousarray(values[row][:, k]) for row, k in zip(sentence_R, unit_R, strict=True)
        ],
    }
    return chosen.assign(
        **lists,
        text=[sentences[row][1] for row in sentence_R],
        value=pooled_NK[sentence_R, unit_R],
        quantile=quantiles(pooled_NK)[sentence_R, unit_R],
    )


def quantiles(values_NK: NDArray[Any]) -> NDArray[np.float64]:
    """Share of the other sentences that are lower, equal ones counted half: from 0 to 1.

    Args:
        values_NK: A column per unit.
    """
    found_NK = np.empty(values_NK.shape)
    for values_N, found_N in zip(values_NK.T, found_NK.T, strict=True):
        rising = np.sort(values_N)
        below, up_to = (np.searchsorted(rising, values_N, side) for side in ("left", "right"))
        found_N[:] = (below + (up_to - below - 1) / 2) / max(1, len(rising) - 1)
    return found_NK


def _shown_values(batch: TracedBatch, shown: Mapping[int, ShownTokens]) -> dict[int, NDArray[np.float32]]:
    """Per sentence of a batch that is shown the values at its shown tokens, ``(G, K)``."""
    return {
        row: np.maximum.reduceat(batch.tokens(at), shown[row].first_G, axis=0)
        for at, row in enumerate(batch.rows.tolist())
        if row in shown
    }


def _places(units: pd.DataFrame) -> list[tuple[int, str, int]]:
    return [
        (int(layer), str(site), int(unit))
        for layer, site, unit in zip(*(units[c] for c in _UNIT), strict=True)
    ]
