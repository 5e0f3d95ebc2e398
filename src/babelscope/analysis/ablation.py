"""Ablation: hold a concept's experts at their mean, and see what its sentences then cost the model.

That experts fire on a concept does not say that the model uses them. So the experts of a concept in one
language are set to their mean, and the loss on the concept's own sentences is measured in every language.

Legend: B rows of a batch, T positions, U units of a module, N of the model, K units that are moved.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from babelscope.analysis.audit.weights import choose_sentences, nats_of_inputs
from babelscope.analysis.controls import Moments, draw_random, numbers_of, sample_sentences
from babelscope.analysis.damage import EXPERTS, OTHER_CONCEPT, RANDOM, RANDOM_DOSE
from babelscope.analysis.experts import of_model
from babelscope.capture.extraction import pooled_batches
from babelscope.capture.inputs import encode_sentences
from babelscope.capture.settings import ExtractionSettings
from babelscope.errors import NumericsError, StudyError
from babelscope.models.checkpoints import LoadedModel
from babelscope.models.dimensions import site_widths
from babelscope.models.hooks import Watch, Watcher, site_parts, watching
from babelscope.units import UnitIndex

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Texts = Sequence[tuple[str, str]]

#: Experts are chosen on one half of the sentences, and the loss is that of the other.
CHOSEN_ON, READ_ON = "a", "b"

_COLUMNS = [
    "model", "step", "source", "target", "concept", "condition", "loss", "damage", "n_sentences", "n_tokens",
    "n_units",
]  # fmt: skip


class LanguageTexts(NamedTuple):
    """What is read in one language: id and text of sentences."""

    sentences: Texts
    """All of them."""
    positive: Mapping[str, Texts]
    """By concept those that express it."""
    read: Mapping[str, Texts]
    """Of these the half on which no expert was chosen."""


class Moves(NamedTuple):
    """Units that are moved at a sentence's own tokens: each by as much as a leader is off its mean.

    A unit that leads itself, at factor 1, is set to its mean.
    """

    units_K: Ints
    """Numbers of the units."""
    leaders_K: Ints
    """Of each the unit that it follows, of the same module."""
    mean_K: Floats
    """Means of the leaders; or, shape ``(B, 1, K)``, what they are held at in each row."""
    factor_K: Floats
    """How far a unit goes for each 1 of its leader."""


class UnitSets(NamedTuple):
    """Numbers of the units of one concept or several in a language."""

    experts_K: Ints
    random_K: Ints
    """As many of the same modules, in their order."""


class _Means(NamedTuple):
    """What units do at the tokens of the sentences of a language."""

    sd_N: Floats
    """Standard deviation of their means over a sentence."""
    without: dict[str, Floats]
    """By concept the means over sentences that do not express it, ``(N,)``."""


def ablate_step(
    loaded: LoadedModel,
    experts: Mapping[str, pd.DataFrame],
    texts: Mapping[str, LanguageTexts],
    *,
    model: str,
    step: int,
    concepts: Sequence[str],
    n_sentences: int,
    extraction: ExtractionSettings,
    seed: int,
) -> pd.DataFrame:
    """What each concept's sentences cost with its experts at their mean, in every pair of languages.

    Four sets of units are moved in turn: the experts of the concept in the source language
    (``experts``); as many random units of the same modules, set to their own means (``random``), or moved as
    many of their standard deviations as the expert whose place they take (``random_dose``); and the
    experts of the next concept in the source language (``other_concept``), if there are several.

    Args:
        loaded: A causal language model.
        experts: Per language the table of :func:`babelscope.analysis.experts.select_experts`.
        texts: Per language its sentences.
        model: Run id.
        step: Training step of the checkpoint.
        concepts: Concepts whose experts are ablated.
        n_sentences: Sentences of a concept and language that are read, at most.
        extraction: How activations were extracted.
        seed: Of the study.

    Returns:
        Columns ``model, step, source`` (language of the experts), ``target`` (of the sentences),
        ``concept, condition``, ``loss`` (nats per token of the model as it is), ``damage`` (by how much it
        grows), ``n_sentences, n_tokens, n_units``. A concept without experts in a language has no rows of it.

    Raises:
        StudyError: If a module has too few units that are no experts.
        NumericsError: If a loss is not finite.
    """
    started, where = time.monotonic(), f"model {model}, step {step}"
    units = UnitIndex.of((*place, n) for place, n in site_widths(loaded.config, extraction.sites).items())
    modules = modules_of(loaded, units)
    sets = {
        lang: {c: found for c in concepts if (found := unit_sets(experts, units, modules, lang, [c], seed))}
        for lang in experts
    }
    rows: list[tuple[object, ...]] = []
    for target, of_target in texts.items():
        named = f"{where}, sentences of {target}"
        means = _means(loaded, of_target, concepts, extraction, len(units), where=named)
        for concept in concepts:
            read = choose_sentences(of_target.read.get(concept, ()), n_sentences)
            if not read:
                continue
            encoded = encode_sentences(
                loaded, read, max_length=extraction.max_length, where=named, prefix=extraction.prefix
            )
            rows_of, first = encoded.rows, encoded.first
            n_tokens = sum(len(row) - first for row in rows_of)
            loss = nats_of_inputs(loaded, rows_of, first).sum() / n_tokens
            for source, of_source in sets.items():
                for condition, moves in _conditions(of_source, concept, means):
                    with moving(loaded.model, moves, units, first):
                        moved = nats_of_inputs(loaded, rows_of, first).sum() / n_tokens
                    if not np.isfinite(moved - loss):
                        raise NumericsError(f"{named}, {concept}: the loss is not finite")
                    at = model, step, source, target, concept, condition
                    rows.append((*at, loss, moved - loss, len(read), n_tokens, len(moves.units_K)))
    logger.info("%s: %d losses in %.1f s", where, len(rows), time.monotonic() - started)
    return pd.DataFrame(rows, columns=_COLUMNS)


@contextmanager
def moving(model: Any, moves: Moves, units: UnitIndex, first: int = 1) -> Iterator[None]:
    """Move units while the body runs; see :class:`Moves`.

    Args:
        model: A language model of transformers.
        moves: What is moved.
        units: All units of the model.
        first: Position from which on they are moved: the start token and a prefix have no part in the means.
    """
    watchers: list[Watcher] = []
    for layer, site, part in units.parts():
        for place, within in site_parts(model, site, layer):
            start = part.start + within.start
            here_K = (start <= moves.units_K) & (moves.units_K < part.start + within.stop)
            if here_K.any():
                units_K, leaders_K, mean_K, factor_K = moves
                here = Moves(units_K[here_K], leaders_K[here_K], mean_K[..., here_K], factor_K[here_K])
                watchers.append((place, _mover(here, start, first)))
    with watching(watchers):
        yield


def _mover(moves: Moves, start: int, first: int) -> Watch:
    """Moves units of one module, whose first unit has the number ``start``."""
    units_K, leaders_K = (torch.from_numpy(each - start) for each in moves[:2])
    mean_K, factor_K = (torch.from_numpy(each).float() for each in moves[2:])

    def move(values_BTU: torch.Tensor) -> torch.Tensor:
        device = values_BTU.device  # a model may be spread over several
        units, leaders, mean, factor = (each.to(device) for each in (units_K, leaders_K, mean_K, factor_K))
        own_BTU = values_BTU[:, first:]
        shift_BTK = (mean - own_BTU[..., leaders].float()) * factor
        moved_BTU = values_BTU.clone()
        moved_BTU[:, first:, units] = (own_BTU[..., units].float() + shift_BTK).to(values_BTU.dtype)
        return moved_BTU

    return move


def modules_of(loaded: LoadedModel, units: UnitIndex) -> list[tuple[int, str, slice]]:
    """Layer, site and numbers of the units of each module: a site may have several."""
    return [
        (layer, site, slice(part.start + within.start, part.start + within.stop))
        for layer, site, part in units.parts()
        for _, within in site_parts(loaded.model, site, layer)
    ]


def unit_sets(
    tables: Mapping[str, pd.DataFrame],
    units: UnitIndex,
    modules: Sequence[tuple[int, str, slice]],
    lang: str,
    concepts: Sequence[str],
    seed: int,
) -> UnitSets | None:
    """The experts of concepts in a language and random units; None if one of them has no expert."""

    def of_concepts(table: pd.DataFrame) -> pd.DataFrame:
        return table[(table["scope"] == "model") & table["concept"].isin(concepts)]

    own = of_concepts(tables[lang])
    experts = of_model(own, CHOSEN_ON).sort_values(["concept", "rank"])
    if experts["concept"].nunique() < len(concepts):
        return None
    experts = experts.drop_duplicates(["layer", "site", "unit"])
    draw = partial(
        draw_random, experts, units=units, lang=lang, concept="/".join(concepts), seed=seed, parts=modules
    )
    try:
        drawn = draw(pd.concat([of_concepts(table) for table in tables.values()]))
    except StudyError:  # too few units are no experts of these concepts in any language
        drawn = draw(own)
    return UnitSets(numbers_of(experts, units), drawn)


def _conditions(sets: Mapping[str, UnitSets], concept: str, means: _Means) -> Iterator[tuple[str, Moves]]:
    """Which units are moved, and how; nothing for a concept without experts."""
    if concept not in sets:
        return
    mean_N, (experts_K, random_K) = means.without[concept], sets[concept]

    def at_mean(units_K: Ints) -> Moves:
        return Moves(units_K, units_K, mean_N[units_K], np.ones(len(units_K)))

    yield EXPERTS, at_mean(experts_K)
    yield RANDOM, at_mean(random_K)
    sd_K = means.sd_N[experts_K]
    factor_K = np.divide(means.sd_N[random_K], sd_K, out=np.zeros_like(sd_K), where=sd_K > 0)
    yield RANDOM_DOSE, Moves(random_K, experts_K, mean_N[experts_K], factor_K)
    others = list(sets)
    other = others[(others.index(concept) + 1) % len(others)]
    if other != concept:
        yield OTHER_CONCEPT, at_mean(sets[other].experts_K)


def _means(
    loaded: LoadedModel,
    texts: LanguageTexts,
    concepts: Sequence[str],
    extraction: ExtractionSettings,
    n_units: int,
    *,
    where: str,
) -> _Means:
    """One pass over a sample of the sentences of a language."""
    sample = sample_sentences(texts.sentences)
    kept = [(name, text) for name, text in texts.sentences if name in sample]
    names = np.array([name for name, _ in kept], dtype=object)
    expressed = {c: np.isin(names, [name for name, _ in texts.positive.get(c, ())]) for c in concepts}
    whole, of_concept = Moments(n_units), {concept: Moments(n_units) for concept in concepts}
    settings = extraction.model_copy(update={"poolings": ("mean",)})
    for batch, pooled in pooled_batches(loaded, kept, settings, where=where):
        values_BN = np.concatenate([*pooled.values()], axis=1)
        whole.add(values_BN)
        for concept, moments in of_concept.items():
            moments.add(values_BN[expressed[concept][batch]])
    without = {}
    for concept, own in of_concept.items():
        n_others = whole.n - own.n
        sums_N = whole.n * whole.mean_N - own.n * own.mean_N
        without[concept] = sums_N / n_others if n_others else whole.mean_N
    return _Means(whole.sd_N, without)
