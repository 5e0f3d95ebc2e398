"""Patching: put what experts do in a sentence of one language into one of another concept and language.

That experts of a concept are shared does not say that the model takes the concept from them whatever it
writes in. So the values that the experts of two concepts have in a sentence of the one are put into a
sentence of the other, up to where it says its own concept, and the words that may follow there are compared:
does the model move to the other concept, and does it stay in its language?

Source: Dumas, Wendler, Veselovsky, Monea and West (2025), "Separating Tongue from Thought: Activation
Patching Reveals Language-Agnostic Concept Representations in Transformers", ACL. They patch states of prompts
that ask for a translation; experts of concepts, and the sentences that a study has, are ours.

Legend: B rows of a batch, T positions, S sentences, N units of the model, M that are wanted, K that are
patched, d width of the residual stream.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from babelscope.analysis.ablation import Moves, UnitSets, modules_of, moving, unit_sets
from babelscope.analysis.audit.weights import choose_sentences
from babelscope.analysis.continuations import (
    ABROAD,
    OTHER,
    OWN,
    ConceptTexts,
    Patch,
    Prompts,
    Said,
    common_length,
    log_probabilities,
    make_prompts,
)
from babelscope.analysis.controls import Moments, sample_sentences
from babelscope.analysis.movement import (
    CONTROLS,
    DEPTHS,
    EXPERTS,
    RANDOM,
    RANDOM_DOSE,
    SOURCE_EXPERTS,
    STATES,
)
from babelscope.capture.extraction import pooled_batches
from babelscope.capture.inputs import encode_sentences, forward, make_batches
from babelscope.capture.settings import ExtractionSettings
from babelscope.errors import NumericsError
from babelscope.models.checkpoints import LoadedModel
from babelscope.models.dimensions import n_layers, site_widths
from babelscope.models.hooks import site_modules, watching
from babelscope.units import UnitIndex

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_COLUMNS = [
    "model", "step", "source", "target", "concept", "other", "condition", "layer", "before", "moved", "left",
    "n_sentences", "n_units",
]  # fmt: skip


class _Seen(NamedTuple):
    """What the model does on the sentences of a language."""

    row_of: Mapping[str, int]
    """Row of a sentence, by id."""
    values_SM: Floats
    """Its units, pooled as experts were chosen."""
    sd_M: Floats
    """Standard deviation of units over sentences."""
    states: Mapping[str, NDArray[np.float32]]
    """By depth the state before the sentence's word of its concept, ``(S, d)``."""


def patch_step(
    loaded: LoadedModel,
    experts: Mapping[str, pd.DataFrame],
    texts: Mapping[str, ConceptTexts],
    *,
    model: str,
    step: int,
    concepts: Sequence[str],
    n_sentences: int,
    extraction: ExtractionSettings,
    seed: int,
) -> pd.DataFrame:
    """What follows in sentences that are patched with others, in every pair of languages.

    A target sentence, up to its last word of its concept, is patched with a source sentence of another
    concept: at all its own tokens units are held at the value that they have in the source, pooled as experts
    were chosen. Patched are the experts of both concepts in the target's language (``experts``) or in the
    source's (``source_experts``); or, beside ``experts``, as many random units of the same modules, at their
    own values (``random``) or moved as many of their standard deviations as the experts (``random_dose``).
    At three depths the whole state before the word is put in the place of the target's (``state_*``). Each
    has its control (``*_control``): the same patch from a source of the target's own concept, its translation
    where there is one.

    Args:
        loaded: A causal language model.
        experts: Per language the table of :func:`babelscope.analysis.experts.select_experts`.
        texts: Per language its sentences.
        model: Run id.
        step: Training step of the checkpoint.
        concepts: The first and the second are patched with each other, and so on; an odd one is left out.
        n_sentences: Sentences of a concept and language, at most.
        extraction: How activations were extracted.
        seed: Of the study.

    Returns:
        Columns ``model, step, source, target`` (languages), ``concept`` (of the source), ``other`` (of the
        target), ``condition, layer`` (of a state; 0 of units), ``before`` (log-probability of the words of
        the source's concept less that of the target's, both in the target's language, unpatched), ``moved``
        (by how much it grows), ``left`` (by how much the log-probability of the source's concept grows in the
        source's language more than in the target's; NaN where no word tells them apart), ``n_sentences,
        n_units``; means over sentences, in nats. Two concepts of which one has no experts or sentences in a
        language have no rows of it.

    Raises:
        StudyError: If a module has too few units that are no experts.
        NumericsError: If a probability is not finite.
    """
    started, where = time.monotonic(), f"model {model}, step {step}"
    units = UnitIndex.of((*place, n) for place, n in site_widths(loaded.config, extraction.sites).items())
    modules = modules_of(loaded, units)
    couples = [*zip(concepts[::2], concepts[1::2], strict=False)]
    sets = {
        (lang, couple): found
        for lang in texts
        for couple in couples
        if (found := unit_sets(experts, units, modules, lang, couple, seed))
    }
    wanted_M = np.unique([number for of in sets.values() for each in of for number in each]).astype(np.int64)
    chosen = {
        lang: {c: _choose(of.said.get(c, ()), n_sentences) for couple in couples for c in couple}
        for lang, of in texts.items()
    }
    seen = {
        lang: _see(loaded, of, chosen[lang], wanted_M, units, extraction, f"{where}, sentences of {lang}")
        for lang, of in texts.items()
    }
    rows: list[tuple[object, ...]] = []
    for target, source, couple in _cells(texts, couples):
        if (target, couple) not in sets or (source, couple) not in sets:
            continue
        for concept, other in (couple, couple[::-1]):
            matched = [*zip(chosen[source][concept], chosen[target][other], strict=False)]
            spelt = [(target, concept), (target, other), (source, concept)][: 3 if source != target else 2]
            prompts = make_prompts(
                loaded,
                [into for _, into in matched],
                [texts[lang].spellings.get(c, ()) for lang, c in spelt],
                extraction,
                where=f"{where}, sentences of {target}",
            )
            if prompts is None or not chosen[source][other]:
                continue
            given, into = zip(*(matched[at] for at in prompts.kept), strict=True)
            same = _translations(into, chosen[source][other])
            patching = _Patching(loaded, units, wanted_M, prompts, seen[source], seen[target].sd_M)
            before_S3 = log_probabilities(loaded, prompts, lambda _: nullcontext())
            for condition, layer, n, patch in patching.conditions(
                sets[target, couple], sets[source, couple], given, same
            ):
                grown_S3 = log_probabilities(loaded, prompts, patch) - before_S3
                moved = float((grown_S3[:, OTHER] - grown_S3[:, OWN]).mean())
                if not np.isfinite(moved):
                    problem = f"{where}, {concept} in sentences of {target}: a probability is not finite"
                    raise NumericsError(problem)
                left_S = grown_S3[:, ABROAD] - grown_S3[:, OTHER]
                left = float(np.nanmean(left_S)) if np.isfinite(left_S).any() else float("nan")
                before = float((before_S3[:, OTHER] - before_S3[:, OWN]).mean())
                at = model, step, source, target, concept, other, condition, layer
                rows.append((*at, before, moved, left, len(into), n))
    logger.info("%s: %d patches in %.1f s", where, len(rows), time.monotonic() - started)
    return pd.DataFrame(rows, columns=_COLUMNS)


def _cells(
    langs: Mapping[str, object], couples: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str, tuple[str, str]]]:
    """Language of the target, of the source, and two concepts."""
    for target in langs:
        for source in langs:
            for couple in couples:
                yield target, source, couple


class _Patching(NamedTuple):
    """Patches the inputs of target sentences with what was seen in sentences of a source language."""

    loaded: LoadedModel
    units: UnitIndex
    wanted_M: Ints
    prompts: Prompts
    seen: _Seen
    """Of the source language."""
    sd_M: Floats
    """Standard deviation of units over sentences of the target language."""

    def conditions(
        self, own: UnitSets, theirs: UnitSets, given: Sequence[Said], same: Sequence[Said]
    ) -> Iterator[tuple[str, int, int, Patch]]:
        """Condition, layer, number of units, and the patch.

        Args:
            own: Units of the target's language.
            theirs: Units of the source's language.
            given: For each target the source of another concept.
            same: For each target the source of its own concept.
        """
        patches = {
            EXPERTS: partial(self._held, own.experts_K),
            SOURCE_EXPERTS: partial(self._held, theirs.experts_K),
            RANDOM: partial(self._held, own.random_K),
            RANDOM_DOSE: partial(self._dosed, own),
        }
        for condition, patch in patches.items():
            n_units = len((theirs if condition == SOURCE_EXPERTS else own).experts_K)
            yield condition, 0, n_units, patch(given)
            yield CONTROLS[condition], 0, n_units, patch(same)
        for depth, layer in _layers(self.loaded).items():
            yield STATES[depth], layer, 0, self._placed(depth, layer, given)
            yield CONTROLS[STATES[depth]], layer, 0, self._placed(depth, layer, same)

    def _held(self, units_K: Ints, given: Sequence[Said]) -> Patch:
        return self._moved(units_K, units_K, np.ones(len(units_K)), given)

    def _dosed(self, sets: UnitSets, given: Sequence[Said]) -> Patch:
        """Random units that go as many of their standard deviations as the experts."""
        sd_K, random_sd_K = (self.sd_M[self._at(units_K)] for units_K in sets)
        factor_K = np.divide(random_sd_K, sd_K, out=np.zeros_like(sd_K), where=sd_K > 0)
        return self._moved(sets.random_K, sets.experts_K, factor_K, given)

    def _moved(self, units_K: Ints, leaders_K: Ints, factor_K: Floats, given: Sequence[Said]) -> Patch:
        values_SK = self.seen.values_SM[self._rows(given)][:, self._at(leaders_K)]

        def patch(rows_B: NDArray[np.intp]) -> AbstractContextManager[None]:
            values_B1K = values_SK[self.prompts.sentence_R[rows_B], None]
            moves = Moves(units_K, leaders_K, values_B1K, factor_K)
            return moving(self.loaded.model, moves, self.units, self.prompts.first)

        return patch

    def _placed(self, depth: str, layer: int, given: Sequence[Said]) -> Patch:
        """Puts the state before the source's word in the place of that before the target's."""
        states_Sd = self.seen.states[depth][self._rows(given)]
        (place,) = site_modules(self.loaded.model, "resid", layer)

        def patch(rows_B: NDArray[np.intp]) -> AbstractContextManager[None]:
            states_Bd = torch.from_numpy(states_Sd[self.prompts.sentence_R[rows_B]])
            last_B = torch.from_numpy(self.prompts.last_R[rows_B])

            def put(values_BTd: torch.Tensor) -> torch.Tensor:
                placed_BTd = values_BTd.clone()
                every_B = torch.arange(len(rows_B), device=placed_BTd.device)
                placed_BTd[every_B, last_B.to(placed_BTd.device)] = states_Bd.to(placed_BTd)
                return placed_BTd

            return watching([(place, put)])

        return patch

    def _at(self, units_K: Ints) -> NDArray[np.intp]:
        return np.searchsorted(self.wanted_M, units_K)

    def _rows(self, given: Sequence[Said]) -> list[int]:
        return [self.seen.row_of[each.name] for each in given]


def _layers(loaded: LoadedModel) -> dict[str, int]:
    """The last layer of each quarter of the model but the last."""
    n = n_layers(loaded.config)
    return {depth: math.ceil(n * quarter / 4) for quarter, depth in enumerate(DEPTHS, start=1)}


def _choose(said: Sequence[Said], n: int) -> list[Said]:
    """The same ids in every language, if they say it there."""
    by_name = {each.name: each for each in said}
    return [by_name[name] for name, _ in choose_sentences([(each.name, each.text) for each in said], n)]


def _translations(targets: Sequence[Said], candidates: Sequence[Said]) -> list[Said]:
    """For each target the candidate of its id, or else any."""
    by_name = {each.name: each for each in candidates}
    return [by_name.get(each.name, candidates[at % len(candidates)]) for at, each in enumerate(targets)]


def _see(
    loaded: LoadedModel,
    texts: ConceptTexts,
    chosen: Mapping[str, Sequence[Said]],
    wanted_M: Ints,
    units: UnitIndex,
    extraction: ExtractionSettings,
    where: str,
) -> _Seen:
    """One pass over a sample of the sentences of a language and those that are patched; one for states."""
    used = [*{each.name: each for of in chosen.values() for each in of}.values()]
    row_of = {each.name: row for row, each in enumerate(used)}
    sample = sample_sentences(texts.sentences)
    pairs = [(name, text) for name, text in texts.sentences if name in sample or name in row_of]
    values_SM, moments = np.zeros((len(used), len(wanted_M))), Moments(len(wanted_M))
    parts = list(units.parts())
    for batch, pooled in pooled_batches(loaded, pairs, extraction, where=where):
        values_BM = np.concatenate([pooled[layer, site] for layer, site, _ in parts], axis=1)[:, wanted_M]
        names = [pairs[row][0] for row in batch]
        moments.add(values_BM[[name in sample for name in names]])
        for name, values_M in zip(names, values_BM, strict=True):
            if name in row_of:
                values_SM[row_of[name]] = values_M
    return _Seen(row_of, values_SM, moments.sd_N, _states(loaded, used, extraction, where))


@torch.inference_mode()
def _states(
    loaded: LoadedModel, used: Sequence[Said], extraction: ExtractionSettings, where: str
) -> dict[str, NDArray[np.float32]]:
    """By depth the state before each sentence's word of its concept."""
    layers, width = _layers(loaded), site_widths(loaded.config, ("resid",))[0, "resid"]
    states = {depth: np.empty((len(used), width), dtype=np.float32) for depth in layers}
    if not used:
        return states
    whole, before = (
        encode_sentences(
            loaded, sentences, max_length=extraction.max_length, where=where, prefix=extraction.prefix
        )
        for sentences in ([each[:2] for each in used], [(each.name, each.before.rstrip()) for each in used])
    )
    last_S = np.array([common_length(both) - 1 for both in zip(whole.rows, before.rows, strict=True)])
    for batch in make_batches(loaded, whole.rows, batch_size=extraction.batch_size):
        watchers = [
            (place, _keeping(states[depth], batch.rows, last_S[batch.rows]))
            for depth, layer in layers.items()
            for place in site_modules(loaded.model, "resid", layer)
        ]
        with watching(watchers):
            forward(loaded, batch)
    return states


def _keeping(states_Sd: NDArray[np.float32], rows_B: Ints, last_B: Ints) -> Callable[[torch.Tensor], None]:
    """Keeps the states at one position of each input."""
    every_B, at_B = torch.arange(len(rows_B)), torch.from_numpy(last_B)

    def keep(values_BTd: torch.Tensor) -> None:
        device = values_BTd.device
        states_Sd[rows_B] = values_BTd[every_B.to(device), at_B.to(device)].float().cpu().numpy()

    return keep
