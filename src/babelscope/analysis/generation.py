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

from babelscope.analysis.controls import Held, draw_random, hold_random
from babelscope.analysis.experts import of_model
from babelscope.analysis.forcing import UnitSet, force_units
from babelscope.analysis.sampling import LOGITS_IN_CACHE, sample_tokens
from babelscope.analysis.settings import GenerationSettings
from babelscope.capture.settings import ExtractionSettings
from babelscope.errors import DataError, NumericsError, StudyError
from babelscope.models.architectures import is_encoder
from babelscope.models.checkpoints import LoadedModel
from babelscope.models.dimensions import max_positions, site_widths
from babelscope.units import UnitIndex

logger = logging.getLogger(__name__)

#: Stands for "no source" in the columns ``lang`` and ``concept`` of unforced texts.
NO_SOURCE = "*"

UNFORCED, FORCED, RANDOM, RANDOM_DOSE = "unforced", "forced", "random", "random_dose"

#: A text is degenerate if so small a share of its tokens are different ones ...
MIN_DISTINCT_SHARE = 0.3
#: ... or one token stands so often in a row, or nothing is written at all.
MAX_REPEATS = 6

#: Logits held at once when the texts are scored: on a GPU few large passes are faster, on a CPU they are not.
_LOGITS_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 26}

TEXT_COLUMNS = (
    "condition", "lang", "concept", "sample", "seed", "text", "token_ids", "prompt_ids", "nll",
    "n_tokens", "distinct_share", "degenerate", "n_forced",
)  # fmt: skip


class TextRequest(NamedTuple):
    """One text to be written."""

    condition: str
    """``unforced``, ``forced``, ``random`` or ``random_dose``."""
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
    experts: Mapping[tuple[str, str], UnitSet],
    random: Mapping[tuple[str, str], Held],
    *,
    settings: GenerationSettings,
) -> list[TextRequest]:
    """All texts of one checkpoint: unforced, experts forced, and random units forced at both doses.

    There are as many unforced texts as forced ones of one language. The fourth control, experts of another
    concept, is read off the forced texts.

    Args:
        experts: By source language and concept the experts that are forced.
        random: By the same the random units, see :func:`babelscope.analysis.controls.hold_random`.
        settings: What is generated.
    """

    def requests(condition: str, lang: str, concept: str, n: int, units: UnitSet | None) -> list[TextRequest]:
        runs = itertools.product(range(settings.seeds), range(n))
        return [TextRequest(condition, lang, concept, sample, run, units) for run, sample in runs]

    concepts = {concept for _, concept in experts}
    asked = requests(UNFORCED, NO_SOURCE, NO_SOURCE, settings.samples * len(concepts), None)
    of_condition = {
        FORCED: experts,
        RANDOM: {key: held.at_medians for key, held in random.items()},
        RANDOM_DOSE: {key: held.at_dose for key, held in random.items()},
    }
    for condition, sets in of_condition.items():
        for (lang, concept), units in sets.items():
            asked += requests(condition, lang, concept, settings.samples, units)
    return asked


def forced_experts(
    table: pd.DataFrame, lang: str, concept: str, settings: GenerationSettings
) -> pd.DataFrame:
    """The units of a concept that are forced, best first: ``settings.k`` at its sites, or all kept there.

    Args:
        table: The table of :func:`babelscope.analysis.experts.kept_units` of a language.
        lang: The language, for an error.
        concept: The concept.
        settings: How many are forced, and at which sites.

    Raises:
        StudyError: If the concept has no units, fewer than ``settings.k``, or none at the sites.
    """
    of_concept = _experts_of(table, concept)
    if of_concept.empty:
        allowed = f"concepts with experts in {lang}: {', '.join(of_model(table)['concept'].unique())}"
        raise StudyError("generation.concepts", concept, allowed)
    if len(of_concept) < settings.k:
        raise StudyError("generation.k", settings.k, f"at most experts.kept, {len(of_concept)}")
    there = of_concept[of_concept["site"].isin(settings.sites)] if settings.sites else of_concept
    if there.empty:
        sites = ", ".join(sorted(set(of_concept["site"])))
        allowed = f"sites of the units kept of {concept} in {lang}: {sites}"
        hint = "a larger experts.kept may have some at other sites"
        raise StudyError("generation.sites", list(settings.sites), allowed, hint)
    return there.sort_values("rank").head(settings.k)


def _experts_of(table: pd.DataFrame, concept: str) -> pd.DataFrame:
    whole = of_model(table)
    return whole[whole["concept"] == concept]


def generate_step(
    loaded: LoadedModel,
    kept: Mapping[str, pd.DataFrame],
    experts: Mapping[str, pd.DataFrame],
    sentences: Mapping[str, Sequence[tuple[str, str]]],
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
        kept: Per source language the table of :func:`babelscope.analysis.experts.kept_units`.
        experts: Per source language that of :func:`babelscope.analysis.experts.select_experts`; none of these
            is a random unit.
        sentences: Per source language its sentences: id and text.
        positive: Per source language and concept those that express it.
        model: Run id.
        step: Training step of the checkpoint.
        concepts: Concepts whose experts are forced.
        settings: What is generated.
        extraction: How activations were extracted.
        seed: Of the study.
    """
    started, where = time.monotonic(), f"model {model}, step {step}"
    units = UnitIndex.of((*place, n) for place, n in site_widths(loaded.config, extraction.sites).items())
    forced: dict[tuple[str, str], UnitSet] = {}
    random: dict[tuple[str, str], Held] = {}
    for lang, table in kept.items():
        chosen = {concept: forced_experts(table, lang, concept, settings) for concept in concepts}
        drawn = {
            concept: draw_random(
                rows,
                pd.concat([_experts_of(experts[lang], concept), rows]),
                units,
                lang=lang,
                concept=concept,
                seed=seed,
            )
            for concept, rows in chosen.items()
        }
        held = hold_random(
            loaded, chosen, drawn, units, sentences[lang], positive[lang], extraction,
            where=f"{where}, sentences of {lang}",
        )  # fmt: skip
        for concept, rows in chosen.items():
            forced[lang, concept] = UnitSet(
                *(rows[name] for name in ("layer", "site", "unit", "forced_value"))
            )
            random[lang, concept] = held[concept]
    requests = text_requests(forced, random, settings=settings)
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
        :func:`is_degenerate`), ``n_forced`` (units that were held).

    Raises:
        StudyError: If the model is an encoder or has too few positions.
        NumericsError: If the logits are not finite.
        DataError: If holding units changed nothing that the model predicts.
    """
    _check_writes(loaded, settings.max_new_tokens, where)
    tokenizer = loaded.tokenizer
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    stops = sorted({loaded.start_id, *(int(token) for token in special if token is not None)})
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(requests), settings.batch_size):
        batch = requests[start : start + settings.batch_size]
        uniforms_BT = np.stack([_uniforms(request, settings.max_new_tokens, seed) for request in batch])
        sets = [request.units for request in batch]
        with torch.inference_mode():
            with force_units(loaded.model, sets):
                ids_BT, first_BV = _write(loaded, uniforms_BT, settings, stops, where)
            _check_fired(loaded, batch, ids_BT, first_BV, where)
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
                    0 if asked.units is None else len(asked.units),
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


def _check_fired(
    loaded: LoadedModel,
    batch: Sequence[TextRequest],
    ids_BT: NDArray[np.int64],
    first_BV: torch.Tensor,
    where: str,
) -> None:
    """Refuse units that were held and changed no logit: a hook that never ran looks like a result.

    Logits of the first step are compared bit by bit with those of a pass without hooks over a batch of the
    same shape, in which equal inputs give equal bits. Queries and keys change nothing as long as there is one
    position to attend to; so where the first step is the same, the whole text decides.
    """
    plain_BV = loaded.model(input_ids=_prompts(loaded, len(batch)), use_cache=True).logits[:, -1]
    fired_B = (first_BV != plain_BV).any(dim=-1).tolist()
    for at, asked in enumerate(batch):
        if asked.units is None or fired_B[at] or _changes(loaded, asked.units, ids_BT[at]):
            continue
        raise DataError(
            f"{where}, {asked.concept} in {asked.lang}",
            f"holding {len(asked.units)} units (condition {asked.condition}) changed no logit",
            "an intervention without effect is no result: force more units (generation.k) or other sites; if "
            "these units are not dead, a hook did not run, which is a fault to report",
        )


def _changes(loaded: LoadedModel, units: UnitSet, ids_T: NDArray[np.int64]) -> bool:
    """Whether holding units changes a logit of a text."""
    written = torch.from_numpy(ids_T[None]).to(loaded.device)
    ids_1T = torch.cat([_prompts(loaded, 1), written], dim=1)
    plain_1TV = loaded.model(input_ids=ids_1T, use_cache=False).logits
    with force_units(loaded.model, [units]):
        held_1TV = loaded.model(input_ids=ids_1T, use_cache=False).logits
    return bool((held_1TV != plain_1TV).any())


def _prompts(loaded: LoadedModel, n: int) -> torch.Tensor:
    """Start tokens, ``(n, 1)``."""
    return torch.full((n, 1), loaded.start_id, dtype=torch.long, device=loaded.device)


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
) -> tuple[NDArray[np.int64], torch.Tensor]:
    """Sample a batch, with a cache of keys and values, until each text has a stop token.

    Returns:
        Token ids, ``(B, T)``, and the logits of the first step, ``(B, V)``.
    """
    device, n_rows = loaded.device, len(uniforms_BT)
    stop_S = torch.tensor(stops, device=device)
    ended_B = torch.zeros(n_rows, dtype=torch.bool, device=device)
    ids_B1, first_BV = _prompts(loaded, n_rows), None
    written, cache = [], None
    for uniforms_B in torch.from_numpy(uniforms_BT).to(device).T:
        out = loaded.model(input_ids=ids_B1, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        if first_BV is None:
            first_BV = out.logits[:, -1].clone()
        ids_B = sample_tokens(out.logits[:, -1], uniforms_B, settings.temperature, settings.top_p)
        if ids_B is None:
            raise NumericsError(f"{where}: the logits of a generated text are not finite")
        written.append(ids_B)
        ended_B |= torch.isin(ids_B, stop_S)
        if bool(ended_B.all()):
            break
        ids_B1 = ids_B[:, None]
    assert first_BV is not None
    return torch.stack(written, dim=1).cpu().numpy(), first_BV


def _score(
    loaded: LoadedModel, ids_BT: NDArray[np.int64], lengths_B: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean nats per token under the model as it is; NaN for empty texts."""
    n_rows, width = ids_BT.shape
    nll_B = np.full(n_rows, np.nan)
    logits = _LOGITS_AT_ONCE.get(loaded.device.type, _LOGITS_AT_ONCE["cpu"])
    at_once = max(1, logits // (width * loaded.model.config.vocab_size))
    for start in range(0, n_rows, at_once):
        rows = slice(start, start + at_once)
        ids = torch.from_numpy(ids_BT[rows]).to(loaded.device)
        inputs = torch.cat([_prompts(loaded, len(ids)), ids[:, :-1]], dim=1)
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
