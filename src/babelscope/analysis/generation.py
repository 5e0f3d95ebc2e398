"""Let a model write from its start token alone while chosen units are forced to a value.

Legend: B rows of a batch, T positions, V pieces of the vocabulary.
"""

from __future__ import annotations

import itertools
import logging
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from babelscope.activations.extraction import pooled_values
from babelscope.activations.settings import ExtractionSettings
from babelscope.analysis.experts import of_model
from babelscope.analysis.forcing import UnitSet, force_units
from babelscope.analysis.sampling import LOGITS_IN_CACHE, sample_tokens
from babelscope.analysis.settings import GenerationSettings
from babelscope.errors import NumericsError, StudyError
from babelscope.models.architectures import is_encoder
from babelscope.models.checkpoints import LoadedModel
from babelscope.models.dimensions import max_positions, site_widths
from babelscope.units import UnitIndex

logger = logging.getLogger(__name__)

#: Stands for "no source" in the columns ``lang`` and ``concept`` of unforced texts.
NO_SOURCE = "*"

UNFORCED, FORCED, RANDOM = "unforced", "forced", "random"

#: A text is degenerate if so small a share of its tokens are different ones ...
MIN_DISTINCT_SHARE = 0.3
#: ... or one token stands so often in a row, or nothing is written at all.
MAX_REPEATS = 6

#: Logits held at once when the texts are scored.
_LOGITS_AT_ONCE = 1 << 26

TEXT_COLUMNS = (
    "condition", "lang", "concept", "sample", "seed", "text", "token_ids", "prompt_ids", "nll",
    "n_tokens", "distinct_share", "degenerate",
)  # fmt: skip


class TextRequest(NamedTuple):
    """One text to be written."""

    condition: str
    """``unforced``, ``forced`` or ``random``."""
    lang: str
    """Language that the units are experts in; ``*`` if nothing is forced."""
    concept: str
    """Concept that they are experts of; ``*`` if nothing is forced."""
    sample: int
    """Number of the text."""
    seed: int
    """Number of the seed."""
    units: UnitSet | None
    """What is forced."""


def text_requests(
    experts: Mapping[str, pd.DataFrame],
    random: Mapping[tuple[str, str], UnitSet],
    *,
    concepts: Sequence[str],
    settings: GenerationSettings,
) -> list[TextRequest]:
    """All texts of one checkpoint: unforced, experts forced, and random units forced.

    There are as many unforced texts as forced ones of one language. The third control, experts of another
    concept, is read off the forced texts.

    Args:
        experts: Per source language the table of :func:`babelscope.analysis.experts.select_experts`.
        random: By source language and concept the random units, see :func:`draw_random`.
        concepts: Concepts whose experts are forced.
        settings: What is generated.

    Raises:
        StudyError: If a concept has no experts or fewer than ``settings.k``.
    """

    def requests(condition: str, lang: str, concept: str, n: int, units: UnitSet | None) -> list[TextRequest]:
        runs = itertools.product(range(settings.seeds), range(n))
        return [TextRequest(condition, lang, concept, sample, run, units) for run, sample in runs]

    unforced = requests(UNFORCED, NO_SOURCE, NO_SOURCE, settings.samples * len(concepts), None)
    forced: list[TextRequest] = []
    as_random: list[TextRequest] = []
    for lang, table in experts.items():
        for concept in concepts:
            chosen = _forced(table, lang, concept, settings.k)
            units = UnitSet(chosen["layer"], chosen["site"], chosen["unit"], chosen["forced_value"])
            forced += requests(FORCED, lang, concept, settings.samples, units)
            as_random += requests(RANDOM, lang, concept, settings.samples, random[lang, concept])
    return unforced + forced + as_random


def _forced(table: pd.DataFrame, lang: str, concept: str, k: int) -> pd.DataFrame:
    """The experts of a concept that are forced, best first."""
    whole = of_model(table)
    of_concept = whole[whole["concept"] == concept]
    if of_concept.empty:
        allowed = f"concepts with experts in {lang}: {', '.join(whole['concept'].unique())}"
        raise StudyError("generation.concepts", concept, allowed)
    if len(of_concept) < k:
        raise StudyError("generation.k", k, f"at most experts.k, {len(of_concept)}")
    return of_concept.sort_values("rank").head(k)


def draw_random(
    experts: Mapping[str, pd.DataFrame],
    units: UnitIndex,
    *,
    concepts: Sequence[str],
    k: int,
    seed: int,
) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Random units to force, by source language and concept: their numbers.

    They are as many as the experts that are forced, at the same sites of the same layers, and none is an
    expert of the concept.

    Args:
        experts: Per source language the table of :func:`babelscope.analysis.experts.select_experts`.
        units: All units of the model.
        concepts: Concepts whose experts are forced.
        k: How many are forced.
        seed: Of the study.

    Raises:
        StudyError: If a concept has no experts or fewer than ``k``, or a site has too few other units.
    """
    drawn = {}
    for lang, table in experts.items():
        whole = of_model(table)
        for concept in concepts:
            chosen, every = _forced(table, lang, concept, k), whole[whole["concept"] == concept]
            rng = np.random.default_rng([seed, zlib.crc32(f"random/{lang}/{concept}".encode())])
            drawn[lang, concept] = _draw(chosen, every, units, rng)
    return drawn


def _draw(
    chosen: pd.DataFrame, experts: pd.DataFrame, units: UnitIndex, rng: np.random.Generator
) -> NDArray[np.int64]:
    """As many random units per (layer, site) as are chosen, none of the experts."""
    forced, excluded = (
        units.numbers(table["layer"], table["site"], table["unit"]) for table in (chosen, experts)
    )
    parts = []
    for layer, site, part in sorted(units.parts(), key=lambda part: part[:2]):
        count = int(((part.start <= forced) & (forced < part.stop)).sum())
        free = np.setdiff1d(np.arange(part.start, part.stop), excluded)
        if len(free) < count:
            raise StudyError(
                "experts.k",
                int(experts["k"].max()),
                f"so few that {count} units of layer {layer}, site {site}, are no experts",
                "the random control draws from the units that are no experts of the concept",
            )
        if count:
            parts.append(np.sort(rng.choice(free, size=count, replace=False)))
    return np.concatenate(parts)


def at_their_medians(
    loaded: LoadedModel,
    numbers: NDArray[np.int64],
    units: UnitIndex,
    positive: Sequence[tuple[str, str]],
    settings: ExtractionSettings,
    *,
    where: str,
) -> UnitSet:
    """Units held at their medians over sentences, which the model runs over.

    Scores of all units are gone by now: what is kept of them is the best, see
    :mod:`babelscope.analysis.ranking`.

    Args:
        loaded: The checkpoint.
        numbers: The units.
        units: All units of the model.
        positive: Id and text of the sentences that express the concept.
        settings: How activations were extracted.
        where: Names the sentences in an error.
    """
    layers, sites, indices = units.places(numbers)
    wanted: dict[tuple[int, str], list[int]] = {}
    for layer, site, index in zip(layers.tolist(), sites.tolist(), indices.tolist(), strict=True):
        wanted.setdefault((layer, site), []).append(index)
    chosen = {place: np.array(found) for place, found in wanted.items()}
    values = pooled_values(loaded, positive, chosen, settings, where=where)
    held = [
        (*place, index, value)
        for place, found in chosen.items()
        for index, value in zip(found, np.median(values[place].astype(np.float32), axis=0), strict=True)
    ]
    return UnitSet(*zip(*held, strict=True))


def generate_step(
    loaded: LoadedModel,
    experts: Mapping[str, pd.DataFrame],
    positive: Mapping[str, Mapping[str, Sequence[tuple[str, str]]]],
    *,
    model: str,
    step: int,
    concepts: Sequence[str],
    settings: GenerationSettings,
    extraction: ExtractionSettings,
    seed: int,
) -> pd.DataFrame:
    """The texts of :func:`generate_texts` for all :func:`text_requests`; ``model`` and ``step`` in front.

    Args:
        loaded: The checkpoint.
        experts: Per source language the table of :func:`babelscope.analysis.experts.select_experts`.
        positive: Per source language and concept the sentences that express it: id and text.
        model: Run id.
        step: Training step of the checkpoint.
        concepts: Concepts whose experts are forced.
        settings: What is generated.
        extraction: How activations were extracted.
        seed: Of the study.
    """
    started, where = time.monotonic(), f"model {model}, step {step}"
    units = UnitIndex.of((*place, n) for place, n in site_widths(loaded.config, extraction.sites).items())
    drawn = draw_random(experts, units, concepts=concepts, k=settings.k, seed=seed)
    random = {
        (lang, concept): at_their_medians(
            loaded, numbers, units, positive[lang][concept], extraction, where=f"{where}, {concept} in {lang}"
        )
        for (lang, concept), numbers in drawn.items()
    }
    requests = text_requests(experts, random, concepts=concepts, settings=settings)
    texts = generate_texts(loaded, requests, settings, seed=seed, where=where)
    logger.info("%s step %d: %d texts in %.1f s", model, step, len(texts), time.monotonic() - started)
    texts.insert(0, "model", model)
    texts.insert(1, "step", step)
    return texts


def generate_texts(
    loaded: LoadedModel,
    requests: Sequence[TextRequest],
    settings: GenerationSettings,
    *,
    seed: int,
    where: str,
) -> pd.DataFrame:
    """Sample a text for each request, from the start token alone.

    A text's random numbers come from the seed and what is asked for, not from its place in a batch: so it
    does not depend on the batch size or on the other texts (but for the last digits of the logits). It ends
    at a special token or after ``settings.max_new_tokens``.

    Args:
        loaded: The model.
        requests: What to write.
        settings: Length, sampling, and how many are written at once.
        seed: Of the study.
        where: Names the model in errors.

    Returns:
        One row per request, in order: ``condition``, ``lang``, ``concept``, ``sample``, ``seed``,
        ``text``, ``token_ids`` (of the text), ``prompt_ids`` (separated by spaces), ``nll`` (mean
        nats per token of the text under the model without forcing; NaN if it has no token),
        ``n_tokens``, ``distinct_share`` (of its tokens), ``degenerate`` (see
        :func:`is_degenerate`).

    Raises:
        StudyError: If the model is an encoder or has too few positions.
        NumericsError: If the logits are not finite.
    """
    _check_writes(loaded, settings.max_new_tokens, where)
    tokenizer = loaded.tokenizer
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    stops = sorted({loaded.start_id, *(int(token) for token in special if token is not None)})
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(requests), settings.batch_size):
        batch = requests[start : start + settings.batch_size]
        uniforms_BT = np.stack([_uniforms(request, settings.max_new_tokens, seed) for request in batch])
        with torch.inference_mode():
            with force_units(loaded.model, [request.units for request in batch]):
                ids_BT = _write(loaded, uniforms_BT, settings, stops, where)
            stop_BT = np.isin(ids_BT, stops)  # what follows a stop token has no meaning
            lengths_B = np.where(stop_BT.any(axis=1), stop_BT.argmax(axis=1), ids_BT.shape[1])
            nll_B = _score(loaded, ids_BT, lengths_B)
        tokens = [ids[:n].tolist() for ids, n in zip(ids_BT, lengths_B, strict=True)]
        texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
        for asked, text, ids, nll in zip(batch, texts, tokens, nll_B, strict=True):
            share = len(set(ids)) / len(ids) if ids else 0.0
            rows.append(
                (
                    asked.condition, asked.lang, asked.concept, asked.sample, asked.seed, text, ids,
                    str(loaded.start_id), float(nll), len(ids), share, is_degenerate(text, ids),
                )
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(TEXT_COLUMNS))


def _check_writes(loaded: LoadedModel, max_new_tokens: int, where: str) -> None:
    config = loaded.config
    if is_encoder(config):
        allowed = f"false: {where} is of type {config['model_type']}"
        raise StudyError("generation.enabled", True, allowed, "encoders do not write text")
    longest = max_positions(config)
    if longest is not None and max_new_tokens + 1 > longest:
        allowed = f"less than the {longest} positions of {where}"
        raise StudyError("generation.max_new_tokens", max_new_tokens, allowed)


def is_degenerate(text: str, token_ids: Sequence[int]) -> bool:
    """Whether a text says nothing: it is empty, or under 30 % of its tokens are different ones, or
    one token stands six times in a row."""
    if not text.strip() or not len(token_ids):
        return True
    if len(set(token_ids)) / len(token_ids) < MIN_DISTINCT_SHARE:
        return True
    return max(len(list(run)) for _, run in itertools.groupby(token_ids)) >= MAX_REPEATS


def _uniforms(asked: TextRequest, n: int, seed: int) -> NDArray[np.float64]:
    what = zlib.crc32(f"{asked.condition}/{asked.lang}/{asked.concept}".encode())
    return np.random.default_rng([seed, what, asked.seed, asked.sample]).random(n)


def _write(
    loaded: LoadedModel,
    uniforms_BT: NDArray[np.float64],
    settings: GenerationSettings,
    stops: Sequence[int],
    where: str,
) -> NDArray[np.int64]:
    """Sample a batch, with a cache of keys and values, until each text has a stop token."""
    device, n_rows = loaded.device, len(uniforms_BT)
    stop_S = torch.tensor(stops, device=device)
    ended_B = torch.zeros(n_rows, dtype=torch.bool, device=device)
    ids_B1 = torch.full((n_rows, 1), loaded.start_id, dtype=torch.long, device=device)
    written, cache = [], None
    for uniforms_B in torch.from_numpy(uniforms_BT).to(device).T:
        out = loaded.model(input_ids=ids_B1, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        ids_B = sample_tokens(out.logits[:, -1], uniforms_B, settings.temperature, settings.top_p)
        if ids_B is None:
            raise NumericsError(f"{where}: the logits of a generated text are not finite")
        written.append(ids_B)
        ended_B |= torch.isin(ids_B, stop_S)
        if bool(ended_B.all()):
            break
        ids_B1 = ids_B[:, None]
    return torch.stack(written, dim=1).cpu().numpy()


def _score(
    loaded: LoadedModel, ids_BT: NDArray[np.int64], lengths_B: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean nats per token under the model as it is; NaN for empty texts."""
    n_rows, width = ids_BT.shape
    nll_B = np.full(n_rows, np.nan)
    at_once = max(1, _LOGITS_AT_ONCE // (width * loaded.model.config.vocab_size))
    for start in range(0, n_rows, at_once):
        rows = slice(start, start + at_once)
        ids = torch.from_numpy(ids_BT[rows]).to(loaded.device)
        prompt = torch.full((len(ids), 1), loaded.start_id, device=ids.device)
        inputs = torch.cat([prompt, ids[:, :-1]], dim=1)
        logits_BTV = loaded.model(input_ids=inputs, use_cache=False).logits
        nats_BT = _nats(logits_BTV.flatten(0, 1), ids.flatten()).view(ids.shape)
        lengths = torch.from_numpy(lengths_B[rows]).to(ids.device)
        counted_BT = torch.arange(width, device=ids.device) < lengths[:, None]
        sums_B = (nats_BT * counted_BT).sum(dim=1).cpu().numpy()
        there = lengths_B[rows] > 0
        nll_B[rows][there] = sums_B[there] / lengths_B[rows][there]
    return nll_B


def _nats(logits_NV: torch.Tensor, ids_N: torch.Tensor) -> torch.Tensor:
    """Nats of each token."""
    at_once = max(1, LOGITS_IN_CACHE // logits_NV.shape[1]) if logits_NV.device.type == "cpu" else len(ids_N)
    nats = [
        torch.nn.functional.cross_entropy(
            logits_NV[start : start + at_once].float(), ids_N[start : start + at_once], reduction="none"
        )
        for start in range(0, len(ids_N), at_once)
    ]
    return torch.cat(nats)
