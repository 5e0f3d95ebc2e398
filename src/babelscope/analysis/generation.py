"""Let a model write from its start token alone while chosen units are forced to a value.

Legend: B rows of a batch, T positions, V pieces of the vocabulary, U units of a site.
"""

from __future__ import annotations

import itertools
import logging
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from babelscope.analysis.settings import GenerationSettings
from babelscope.errors import NumericsError, StudyError
from babelscope.models.architectures import is_encoder, max_positions, site_widths
from babelscope.models.checkpoints import LoadedModel
from babelscope.models.hooks import Place, Watcher, site_modules, watching

if TYPE_CHECKING:  # it imports numba, which is of no use here
    from babelscope.analysis.scores import ScoreFile

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


class UnitSet:
    """Units and the values that they are held at.

    Args:
        layers: Layer of each unit.
        sites: Site of each unit.
        units: Index of each unit in its site.
        values: Value of each unit.

    Attributes:
        cells: Per (layer, site) the indices and the values of its units.
    """

    def __init__(
        self,
        layers: Iterable[int],
        sites: Iterable[str],
        units: Iterable[int],
        values: Iterable[float],
    ) -> None:
        cells: dict[tuple[int, str], tuple[list[int], list[float]]] = {}
        for layer, site, unit, value in zip(layers, sites, units, values, strict=True):
            indices, held = cells.setdefault((int(layer), str(site)), ([], []))
            indices.append(int(unit))
            held.append(float(value))
        self.cells: dict[tuple[int, str], tuple[NDArray[np.int64], NDArray[np.float64]]] = {
            cell: (np.array(indices, dtype=np.int64), np.array(held, dtype=np.float64))
            for cell, (indices, held) in cells.items()
        }

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> UnitSet:
        """From columns ``layer``, ``site``, ``unit``, ``forced_value``."""
        return cls(table["layer"], table["site"], table["unit"], table["forced_value"])

    def __len__(self) -> int:
        return sum(len(units) for units, _ in self.cells.values())


@dataclass(frozen=True)
class Job:
    """One text to be written.

    Attributes:
        condition: ``unforced``, ``forced`` or ``random``.
        lang: Language that the units are experts in; ``*`` if nothing is forced.
        concept: Concept that they are experts of; ``*`` if nothing is forced.
        sample: Number of the text.
        seed: Number of the seed.
        units: What is forced.
    """

    condition: str
    lang: str
    concept: str
    sample: int
    seed: int
    units: UnitSet | None


@contextmanager
def force_units(model: Any, sets: Sequence[UnitSet | None]) -> Iterator[None]:
    """Hold units at their values, at every position, while the body runs.

    Args:
        model: A causal language model of transformers.
        sets: What is held in each row of the batches that the body runs; None is nothing.

    Raises:
        ValueError: If the model has no such unit, or a batch has another number of rows.
    """
    cells = sorted({cell for units in sets if units is not None for cell in units.cells})
    config = model.config.to_dict()
    watchers: list[Watcher] = []
    for layer, site in cells:
        width = site_widths(config, [site]).get((layer, site), 0)
        held_BU = np.zeros((len(sets), width), dtype=bool)
        value_BU = np.zeros((len(sets), width), dtype=np.float64)
        for row, units in enumerate(sets):
            if units is None or (layer, site) not in units.cells:
                continue
            indices, values = units.cells[layer, site]
            if indices.max() >= width or indices.min() < 0:
                raise ValueError(
                    f"unit {indices.max()} is not in layer {layer}, site {site}, of {width} units"
                )
            held_BU[row, indices] = True
            value_BU[row, indices] = values
        places = site_modules(model, site, layer)
        start = 0
        for place in places:
            stop = width if len(places) == 1 else start + _width(place)
            part = slice(start, stop)
            if held_BU[:, part].any():
                watchers.append((place, _forcing(held_BU[:, part], value_BU[:, part], model)))
            start = stop
        assert start == width, "the parts of a site are not as wide as the site"
    with watching(watchers):
        yield


def _width(place: Place) -> int:
    module: Any = place.module
    return int(module.out_features if place.end == "out" else module.in_features)


def _forcing(held_BU: NDArray[np.bool_], value_BU: NDArray[np.float64], model: Any) -> Any:
    held_B1U = torch.from_numpy(held_BU[:, None]).to(model.device)
    value_B1U = torch.from_numpy(value_BU[:, None]).to(model.device, model.dtype)

    def force(values_BTU: torch.Tensor) -> torch.Tensor:
        if values_BTU.ndim != 3 or len(values_BTU) != len(held_B1U):
            raise ValueError(
                f"units are forced in {len(held_B1U)} rows; the model got {tuple(values_BTU.shape)}"
            )
        return torch.where(held_B1U, value_B1U.to(values_BTU.dtype), values_BTU)

    return force


def build_jobs(
    experts: Mapping[str, pd.DataFrame],
    scores: Mapping[str, ScoreFile],
    *,
    concepts: Sequence[str],
    settings: GenerationSettings,
    seed: int,
) -> list[Job]:
    """All texts of one checkpoint: unforced, experts forced, and random units forced.

    The random units of a concept are as many as its experts at the same sites of the same layers,
    none of which is an expert of the concept; they are held at their own median over the same
    positive sentences. There are as many unforced texts as forced ones of one language. The third
    control, experts of another concept, is read off the forced texts.

    Args:
        experts: Per source language the table of :func:`babelscope.analysis.scores.select_experts`.
        scores: Per source language its scores, for the medians.
        concepts: Concepts whose experts are forced.
        settings: What is generated.
        seed: Of the study.

    Raises:
        StudyError: If a concept has no experts or fewer than ``settings.k``.
    """
    unforced = [
        Job(UNFORCED, NO_SOURCE, NO_SOURCE, sample, run, None)
        for run in range(settings.seeds)
        for sample in range(settings.samples * len(concepts))
    ]
    forced: list[Job] = []
    random: list[Job] = []
    for lang, table in experts.items():
        chosen = _choose(table, lang, concepts, settings.k)
        drawn = _draw_random(table, chosen, scores[lang], lang, seed)
        for concept in concepts:
            for jobs, condition, source in ((forced, FORCED, chosen), (random, RANDOM, drawn)):
                units = UnitSet.from_table(source[concept])
                jobs += [
                    Job(condition, lang, concept, sample, run, units)
                    for run in range(settings.seeds)
                    for sample in range(settings.samples)
                ]
    return unforced + forced + random


def _choose(table: pd.DataFrame, lang: str, concepts: Sequence[str], k: int) -> dict[str, pd.DataFrame]:
    """The first ``k`` experts of each concept."""
    whole = table[(table["scope"] == "model") & (table["subset"] == "all")]
    chosen = {str(concept): part for concept, part in whole.groupby("concept", sort=False)}
    for concept in concepts:
        if concept not in chosen:
            allowed = f"concepts with experts in {lang}: {', '.join(chosen)}"
            raise StudyError("generation.concepts", concept, allowed)
        chosen[concept] = chosen[concept].sort_values("rank").head(k)
        if len(chosen[concept]) < k:
            raise StudyError("generation.k", k, f"at most experts.k, {len(chosen[concept])}")
    return {concept: chosen[concept] for concept in concepts}


def _draw_random(
    table: pd.DataFrame,
    chosen: Mapping[str, pd.DataFrame],
    scores: ScoreFile,
    lang: str,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """As many random units per (layer, site) as there are experts, with their medians."""
    widths = {(layer, site): width for layer, site, width in scores.sites}
    whole = table[(table["scope"] == "model") & (table["subset"] == "all")]
    parts = []
    for concept, rows in chosen.items():
        rng = np.random.default_rng([seed, zlib.crc32(f"random/{lang}/{concept}".encode())])
        all_experts = whole[whole["concept"] == concept]
        excluded = all_experts.groupby(["layer", "site"])["unit"].agg(set).to_dict()
        for (layer, site), part in _cells(rows):
            count = len(part)
            free = np.setdiff1d(np.arange(widths[layer, site]), list(excluded[layer, site]))
            if len(free) < count:
                raise StudyError(
                    "experts.k",
                    int(table["k"].max()),
                    f"so few that {count} units of layer {layer}, site {site}, are no experts",
                    "the random control draws from the units that are no experts of the concept",
                )
            units = np.sort(rng.choice(free, size=count, replace=False))
            parts.append(pd.DataFrame({"concept": concept, "layer": layer, "site": site, "unit": units}))
    drawn = pd.concat(parts, ignore_index=True)
    drawn["forced_value"] = np.nan
    number = {concept: row for row, concept in enumerate(scores.concepts)}
    for (layer, site), part in _cells(drawn):
        median_CU = scores.read(layer, site, "median")
        concept_rows = part["concept"].map(number).to_numpy()
        drawn.loc[part.index, "forced_value"] = median_CU[concept_rows, part["unit"].to_numpy()]
    return {concept: drawn[drawn["concept"] == concept] for concept in chosen}


def _cells(units: pd.DataFrame) -> Iterator[tuple[tuple[int, str], pd.DataFrame]]:
    """The rows of each (layer, site), in order."""
    for cell, part in units.groupby(["layer", "site"], sort=True):
        layer, site = cast("tuple[int, str]", cell)
        yield (int(layer), str(site)), part


def generate_step(
    loaded: LoadedModel,
    experts: Mapping[str, pd.DataFrame],
    scores: Mapping[str, ScoreFile],
    *,
    model: str,
    step: int,
    concepts: Sequence[str],
    settings: GenerationSettings,
    seed: int,
) -> pd.DataFrame:
    """All texts of one (model, step), with columns ``model`` and ``step`` in front.

    See :func:`build_jobs` and :func:`generate_texts`.
    """
    jobs = build_jobs(experts, scores, concepts=concepts, settings=settings, seed=seed)
    started = time.monotonic()
    texts = generate_texts(
        loaded,
        jobs,
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        batch_size=settings.batch_size,
        seed=seed,
        where=f"model {model}, step {step}",
    )
    seconds = time.monotonic() - started
    logger.info("%s step %d: %d texts in %.1f s", model, step, len(texts), seconds)
    texts.insert(0, "model", model)
    texts.insert(1, "step", step)
    return texts


def generate_texts(
    loaded: LoadedModel,
    jobs: Sequence[Job],
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    batch_size: int,
    seed: int,
    where: str = "the model",
) -> pd.DataFrame:
    """Sample a text for each job, from the start token alone.

    A text's random numbers come from the seed and what the job is, not from its place in a batch:
    so it does not depend on the batch size or on the other jobs (but for the last digits of the
    logits). It ends at a special token or after ``max_new_tokens``.

    Args:
        loaded: The model.
        jobs: What to write.
        max_new_tokens: Longest text in tokens.
        temperature: Divides the logits; 0 takes the likeliest token.
        top_p: Only the likeliest tokens are sampled that together have this probability.
        batch_size: Texts at once.
        seed: Of the study.
        where: Names the model in errors.

    Returns:
        One row per job, in order: ``condition``, ``lang``, ``concept``, ``sample``, ``seed``,
        ``text``, ``token_ids`` (of the text), ``prompt_ids`` (separated by spaces), ``nll`` (mean
        nats per token of the text under the model without forcing; NaN if it has no token),
        ``n_tokens``, ``distinct_share`` (of its tokens), ``degenerate`` (see
        :func:`is_degenerate`).

    Raises:
        StudyError: If the model is an encoder or has too few positions.
        NumericsError: If the logits are not finite.
    """
    config = loaded.config
    if is_encoder(config):
        allowed = f"false: {where} is of type {config['model_type']}"
        raise StudyError("generation.enabled", True, allowed, "encoders do not write text")
    longest = max_positions(config)
    if longest is not None and max_new_tokens + 1 > longest:
        allowed = f"less than the {longest} positions of {where}"
        raise StudyError("generation.max_new_tokens", max_new_tokens, allowed)
    stops = _stop_tokens(loaded)
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(jobs), batch_size):
        batch = jobs[start : start + batch_size]
        uniforms_BT = np.stack([_uniforms(job, max_new_tokens, seed) for job in batch])
        with torch.inference_mode():
            with force_units(loaded.model, [job.units for job in batch]):
                ids_BT = _write(loaded, uniforms_BT, temperature, top_p, stops, where)
            lengths_B = _lengths(ids_BT, stops)
            nll_B = _score(loaded, ids_BT, lengths_B)
        tokens = [ids[:n].tolist() for ids, n in zip(ids_BT, lengths_B, strict=True)]
        texts = loaded.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        for job, text, ids, nll in zip(batch, texts, tokens, nll_B, strict=True):
            share = len(set(ids)) / len(ids) if ids else 0.0
            rows.append(
                (
                    job.condition, job.lang, job.concept, job.sample, job.seed, text, ids,
                    str(loaded.start_id), float(nll), len(ids), share, is_degenerate(text, ids),
                )
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(TEXT_COLUMNS))


def is_degenerate(text: str, token_ids: Sequence[int]) -> bool:
    """Whether a text says nothing: it is empty, or under 30 % of its tokens are different ones, or
    one token stands six times in a row."""
    if not text.strip() or not len(token_ids):
        return True
    if len(set(token_ids)) / len(token_ids) < MIN_DISTINCT_SHARE:
        return True
    run = longest = 1
    for before, after in itertools.pairwise(token_ids):
        run = run + 1 if before == after else 1
        longest = max(longest, run)
    return longest >= MAX_REPEATS


def _stop_tokens(loaded: LoadedModel) -> list[int]:
    tokenizer = loaded.tokenizer
    named = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    return sorted({loaded.start_id, *(int(token) for token in named if token is not None)})


def _uniforms(job: Job, n: int, seed: int) -> NDArray[np.float64]:
    what = zlib.crc32(f"{job.condition}/{job.lang}/{job.concept}".encode())
    return np.random.default_rng([seed, what, job.seed, job.sample]).random(n)


def _write(
    loaded: LoadedModel,
    uniforms_BT: NDArray[np.float64],
    temperature: float,
    top_p: float,
    stops: Sequence[int],
    where: str,
) -> NDArray[np.int64]:
    """Sample a batch with a cache of keys and values; what follows a stop token has no meaning."""
    n_rows, n_positions = uniforms_BT.shape
    device = loaded.device
    uniforms = torch.from_numpy(uniforms_BT).to(device)
    stop_S = torch.tensor(stops, device=device)
    ended_B = torch.zeros(n_rows, dtype=torch.bool, device=device)
    ids_B1 = torch.full((n_rows, 1), loaded.start_id, dtype=torch.long, device=device)
    written, cache = [], None
    for position in range(n_positions):
        out = loaded.model(input_ids=ids_B1, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        ids_B = sample_tokens(out.logits[:, -1], uniforms[:, position], temperature, top_p)
        if ids_B is None:
            raise NumericsError(f"{where}: the logits of a generated text are not finite")
        written.append(ids_B)
        ended_B |= torch.isin(ids_B, stop_S)
        if bool(ended_B.all()):
            break
        ids_B1 = ids_B[:, None]
    return torch.stack(written, dim=1).cpu().numpy()


def sample_tokens(
    logits_BV: torch.Tensor, uniforms_B: torch.Tensor, temperature: float, top_p: float
) -> torch.Tensor | None:
    """The token of each row at which the cumulative probability passes the row's random number.

    Args:
        logits_BV: Logits.
        uniforms_B: Uniform in [0, 1), float64.
        temperature: Divides the logits; 0 takes the likeliest token.
        top_p: The fewest tokens that together have this probability are kept, and those that are as
            likely as the last of them.

    Returns:
        Token ids, or None if the logits are not finite.
    """
    logits_BV = logits_BV.float()
    if temperature == 0:
        return logits_BV.argmax(dim=-1) if bool(logits_BV.isfinite().all()) else None
    share_BV = torch.softmax(logits_BV / temperature, dim=-1)
    if top_p < 1:
        sorted_BV = _sort_descending(share_BV)
        before_BV = sorted_BV.cumsum(dim=-1) - sorted_BV
        n_kept_B1 = (before_BV < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        last_B1 = sorted_BV.gather(1, n_kept_B1 - 1)
        share_BV = share_BV * (share_BV >= last_B1)
    sums_BV = share_BV.double().cumsum(dim=-1)
    totals_B1 = sums_BV[:, -1:]
    if not bool(totals_B1.isfinite().all()):
        return None
    # Below the total even after rounding, so that no token of probability 0 is taken.
    marks_B1 = uniforms_B[:, None] * totals_B1 * (1 - 1e-12)
    return torch.searchsorted(sums_BV, marks_B1, right=True)[:, 0]


def _sort_descending(values_BV: torch.Tensor) -> torch.Tensor:
    if values_BV.device.type == "cpu":  # NumPy's sort is vectorised: 20 times faster here
        return torch.from_numpy(np.sort(values_BV.numpy(), axis=-1)[:, ::-1].copy())
    return values_BV.sort(dim=-1, descending=True).values


def _lengths(ids_BT: NDArray[np.int64], stops: Sequence[int]) -> NDArray[np.int64]:
    """Tokens before the first stop token."""
    stop_BT = np.isin(ids_BT, stops)
    lengths_B = np.where(stop_BT.any(axis=1), stop_BT.argmax(axis=1), ids_BT.shape[1])
    return np.asarray(lengths_B, dtype=np.int64)


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
        nats_BT = torch.nn.functional.cross_entropy(logits_BTV.float().transpose(1, 2), ids, reduction="none")
        lengths = torch.from_numpy(lengths_B[rows]).to(ids.device)
        counted_BT = torch.arange(width, device=ids.device) < lengths[:, None]
        sums_B = (nats_BT * counted_BT).sum(dim=1).cpu().numpy()
        there = lengths_B[rows] > 0
        nll_B[rows][there] = sums_B[there] / lengths_B[rows][there]
    return nll_B
