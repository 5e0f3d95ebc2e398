"""What must hold of a model before its numbers mean anything, tried on the model itself.

The tests of the package try the same on random models of every architecture; this tries it on one that a user
brings. What holds by it is said (:func:`guaranteed`), and what is not tried, see :data:`NOT_CHECKED`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch

from babelscope.analysis.forcing import UnitSet, force_units
from babelscope.capture.inputs import encode_sentences
from babelscope.capture.parity import PARITY_TOLERANCE, parity_check
from babelscope.capture.routing import routed_shares
from babelscope.capture.settings import ExtractionSettings
from babelscope.errors import BabelscopeError
from babelscope.models.architectures import SITES, is_encoder
from babelscope.models.checkpoints import LoadedModel, weight_bytes
from babelscope.models.dimensions import dimensions, max_positions, n_layers, n_parameters, site_widths
from babelscope.models.hooks import Watcher, site_modules, watching
from babelscope.units import unit_name

Level = Literal["ok", "warning", "problem"]
#: Share of unknown tokens from which a tokenizer does not fit a language.
_UNKNOWN = 0.05
#: Every so many units of a site are held, each at a value of its own.
_HELD = 3
_LONGEST = 64

_HOLDS = {
    "weights": "its files are whole, and hold the weights of this architecture and no others",
    "tokenizer": "its tokenizer knows the letters of these languages",
    "padding": "what a unit does on a sentence does not depend on what else stands in its batch",
    "order": "nor on what stands later",
}


def guaranteed(found: Iterable[ModelCheck]) -> list[str]:
    """What holds of a model by the checks that it has passed, a sentence each.

    Args:
        found: Of :func:`check_model`.
    """
    passed = [one.check for one in found if one.level == "ok"]
    told = [said for check, said in _HOLDS.items() if check in passed]
    sites = ", ".join(check.removeprefix("site ") for check in passed if check.startswith("site "))
    if sites:
        told.append(f"units at {sites} are those that its config says; held ones have their value, and count")
    return told


NOT_CHECKED = (
    "that the weights are those of the step that its folder is named by (a study's audit compares steps)",
    "that the text was what the model's page says, and that training went well",
    "that units mean anything: a study asks that, with nulls and controls",
)
"""What no check of one checkpoint can see."""


class ModelCheck(NamedTuple):
    """What one check has found: ``ok``, ``warning`` or ``problem``, and what to do."""

    check: str
    level: Level
    what: str
    remedy: str = ""


@torch.inference_mode()
def check_model(loaded: LoadedModel, sentences: Mapping[str, Sequence[str]]) -> list[ModelCheck]:
    """Try a model: tokenizer, padding, order, sites, forcing.

    Args:
        loaded: The model.
        sentences: By language, a few of each; the longer the better.

    Returns:
        A row per check, in a fixed order.
    """
    found = [_sizes(loaded), _start(loaded), _words(loaded, sentences)]
    pairs = [(f"{lang}{at}", text) for lang, texts in sentences.items() for at, text in enumerate(texts)]
    try:
        found.append(_padding(loaded, pairs))
    except BabelscopeError as error:
        what, _, remedy = str(error).partition("\nhint: ")
        return [*found, ModelCheck("padding", "problem", what, remedy)]
    if dimensions(loaded.config).experts > 1:
        found.append(_routing(loaded, pairs))
    ids = _inputs(loaded, max((text for _, text in pairs), key=len))
    if not is_encoder(loaded.config):
        found.append(_order(loaded, ids))
    return [*found, *(_site(loaded, site, ids) for site in SITES)]


def _sizes(loaded: LoadedModel) -> ModelCheck:
    config, model = loaded.config, loaded.model
    n_weights = sum(weights.numel() for weights in model.parameters())
    width = site_widths(config, ("mlp_act",))
    what = (
        f"{config['model_type']}, {n_layers(config)} blocks, {n_weights:,} weights in {_type(loaded)} "
        f"({weight_bytes(model) / 1e9:.2f} GB), {sum(width.values()):,} units at mlp_act"
    )
    if dimensions(config).experts > 1:
        what += f"; a token is computed with about {n_parameters(config, active=True):,} weights"
    return ModelCheck("weights", "ok", what)


def _type(loaded: LoadedModel) -> str:
    return str(next(loaded.model.parameters()).dtype).removeprefix("torch.")


def _start(loaded: LoadedModel) -> ModelCheck:
    shown = [loaded.start_id] if loaded.end_id is None else [loaded.start_id, loaded.end_id]
    names = " and ".join(f"{name!r}" for name in loaded.tokenizer.convert_ids_to_tokens(shown))
    verb = "starts with" if loaded.end_id is None else "stands between"
    return ModelCheck("special tokens", "ok", f"every input {verb} {names}")


def _words(loaded: LoadedModel, sentences: Mapping[str, Sequence[str]]) -> ModelCheck:
    unknown, per_word, strange = loaded.tokenizer.unk_token_id, {}, []
    for lang, texts in sentences.items():
        ids = [token for text in texts for token in _own(loaded, text)]
        share = sum(token == unknown for token in ids) / len(ids)
        per_word[lang] = len(ids) / sum(len(text.split()) for text in texts)
        if share > _UNKNOWN:
            strange.append(f"{lang} {share:.0%}")
    said = ", ".join(f"{lang} {n:.1f}" for lang, n in per_word.items())
    what = f"{len(loaded.tokenizer):,} tokens; tokens per word between spaces: {said}"
    if strange:
        what += f"; unknown tokens: {', '.join(strange)}"
        return ModelCheck(
            "tokenizer", "warning", what, "leave these languages out, or bring the right tokenizer"
        )
    return ModelCheck("tokenizer", "ok", what)


def _own(loaded: LoadedModel, text: str) -> list[int]:
    return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])


def _inputs(loaded: LoadedModel, text: str) -> torch.Tensor:
    longest = min(_LONGEST, max_positions(loaded.config) or _LONGEST)
    end = [] if loaded.end_id is None else [loaded.end_id]
    ids = [loaded.start_id, *_own(loaded, text)[: longest - 1 - len(end)], *end]
    return torch.tensor([ids], device=loaded.device)


def _padding(loaded: LoadedModel, pairs: Sequence[tuple[str, str]]) -> ModelCheck:
    computed = _type(loaded)
    longest = min(_LONGEST, max_positions(loaded.config) or _LONGEST)
    settings = ExtractionSettings(sites=SITES, max_length=longest, compute_dtype=computed)  # type: ignore[arg-type]
    encoded = encode_sentences(loaded, pairs, max_length=longest, where="sentences of the check")
    worst = parity_check(loaded, encoded, settings)
    what = f"a sentence is the same in a batch as alone, to {worst:.1g} of the largest value"
    return ModelCheck("padding", "ok", f"{what} (allowed: {PARITY_TOLERANCE[computed]:g})")


def _routing(loaded: LoadedModel, pairs: Sequence[tuple[str, str]]) -> ModelCheck:
    """How evenly the router spreads tokens; units of an expert that gets none are 0 everywhere."""
    sizes = dimensions(loaded.config)
    longest = min(_LONGEST, max_positions(loaded.config) or _LONGEST)
    encoded = encode_sentences(loaded, pairs, max_length=longest, where="sentences of the check")
    shares_LE = routed_shares(loaded, encoded, batch_size=len(pairs))
    unused = int((shares_LE == 0).sum())
    what = (
        f"{sizes.experts} experts a block, {sizes.chosen} for each token: of the tokens of the sentences "
        f"here one gets up to {shares_LE.max():.0%}; {unused} of {shares_LE.size} get none"
    )
    return ModelCheck("experts", "ok", what)


def _logits(loaded: LoadedModel, ids: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits.float()


def _order(loaded: LoadedModel, ids: torch.Tensor) -> ModelCheck:
    """Whether what stands later changes nothing before it."""
    half = ids.shape[1] // 2
    whole, first = _logits(loaded, ids)[:, :half], _logits(loaded, ids[:, :half])
    difference = float((whole - first).abs().max()) / (float(whole.abs().max()) or 1.0)
    tolerance = PARITY_TOLERANCE[_type(loaded)]
    if difference > tolerance:
        what = f"what stands later changes what is before it, by {difference:.1g} of the largest logit"
        return ModelCheck(
            "order", "problem", what, "the model is no causal one: is its architecture an encoder?"
        )
    return ModelCheck("order", "ok", f"what stands later changes nothing before it, to {difference:.1g}")


def _site(loaded: LoadedModel, site: str, ids: torch.Tensor) -> ModelCheck:
    """Whether a site has the units that the config says, and units that are held are held and used."""
    widths = {layer: width for (layer, _), width in site_widths(loaded.config, (site,)).items()}
    plain, idle = _logits(loaded, ids), []
    for layer, width in widths.items():
        units = range(0, width, max(1, width // _HELD))
        values = [2.0 + at for at in range(len(units))]
        held = UnitSet([layer] * len(units), [site] * len(units), units, values)
        with force_units(loaded.model, held):
            seen: list[torch.Tensor] = []
            with watching(_watchers(loaded.model, site, layer, seen)):
                logits = _logits(loaded, ids)
        got = torch.cat([part[0] for part in seen], dim=-1)
        if got.shape[-1] != width:
            what = f"layer {layer} has {got.shape[-1]} units, its config says {width}"
            return ModelCheck(
                f"site {site}", "problem", what, "report it: the entry of this architecture is wrong"
            )
        for unit, value in zip(units, values, strict=True):
            if not (got[:, unit] == value).all():
                what = f"{unit_name(layer, site, unit)} was held at {value:g} and is not"
                return ModelCheck(f"site {site}", "problem", what, "report it: a hook does not run")
        if torch.equal(logits, plain):
            idle.append(layer)
    what = f"{sum(widths.values()):,} units in {len(widths)} layers, held at values and read back"
    if idle:
        layers = ", ".join(map(str, idle))
        return ModelCheck(
            f"site {site}", "warning", f"{what}; in layers {layers} holding some changes no logit"
        )
    return ModelCheck(f"site {site}", "ok", f"{what}; each layer changes the logits")


def _watchers(model: Any, site: str, layer: int, seen: list[torch.Tensor]) -> Iterator[Watcher]:
    for place in site_modules(model, site, layer):
        yield place, lambda values_BSD: seen.append(values_BSD.clone())
