"""Sizes of a model, from its config and the table of architectures. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from babelscope.errors import StudyError
from babelscope.models.architectures import Architecture, Key, architecture, check_sites

#: Key of a config, beside those of config.json, for the dictionaries whose latents are units: by name the
#: ``latents`` of each layer that has one, and the width of what it ``reads`` there.
DICTIONARIES = "babelscope_dictionaries"

_MOST_LAYERS, _MOST = 10_000, 100_000_000
#: Keys of config.json by which some blocks of a mixture of experts are dense, and their values if none is.
_ALL_BLOCKS = {"mlp_only_layers": [], "decoder_sparse_step": 1}


@dataclass(frozen=True)
class Dimensions:
    """Sizes of a model, with the defaults of its transformers config class filled in."""

    n_layers: int
    hidden: int
    mlp: int
    query: int
    """All heads together."""
    key: int
    """All key heads together; equal to ``query`` without grouped-query attention."""
    max_positions: int | None
    """Longest input that the config admits; None if positions are unlimited."""
    head: int
    """One head."""
    vocab: int
    """Rows of the word embeddings."""
    embedding: int
    """Width of the word embeddings; not ``hidden`` only where they are projected."""
    position_rows: int
    """Rows of the table of learned positions; 0 without one."""
    tied: bool
    """Whether the word embeddings are also the last map."""
    gated: bool
    """Whether the MLP has a gate."""
    experts: int = 1
    """MLPs that stand beside each other, ``mlp`` wide each; 1 in a dense model."""
    chosen: int = 1
    """Experts that a token is sent to."""

    @property
    def query_key_value(self) -> int:
        """Width of query, key and value beside each other."""
        return self.query + 2 * self.key

    @property
    def acts(self) -> int:
        """Width of the MLPs of all experts together."""
        return self.experts * self.mlp

    @property
    def gate_and_other(self) -> int:
        """Width of a gated MLP's first map where gate and other are one module."""
        return 2 * self.mlp


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Sizes of the model that a config describes.

    Args:
        config: As in ``config.json``: ``model_type``, and what differs from its class's defaults.

    Raises:
        StudyError: If the architecture is unknown, a size is no positive integer, key heads do not
            divide the heads, no position is left beside those for padding, a token would be sent to more
            experts than there are, or some blocks of a mixture of experts are dense.
    """
    entry = architecture(config.get("model_type"))
    hidden = _required(config, entry.hidden)
    heads = _required(config, entry.heads)
    head = _positive(config, entry.head_size) or hidden // heads
    key_heads = _positive(config, entry.key_heads) or heads
    if heads % key_heads:
        name = entry.key_heads.names[0]
        hint = "" if name in config else f"{key_heads} is the default of {entry.config_class}"
        raise StudyError(f"architecture_config.{name}", key_heads, f"a divisor of the {heads} heads", hint)
    positions = _positive(config, entry.max_positions)
    rows = 0 if entry.position_rows is None or positions is None else positions + entry.position_rows
    if entry.padding is not None and positions is not None:
        padding = config.get("pad_token_id")
        reserved = 1 + (entry.padding if padding is None else int(padding))
        if positions <= reserved:
            name = entry.max_positions.names[0]
            allowed = f"more than {reserved}: {entry.model_type} counts positions from pad_token_id + 1"
            raise StudyError(f"architecture_config.{name}", positions, allowed)
        positions -= reserved
    tied = config.get("tie_word_embeddings")
    mlp_in = [part.width for part in entry.sites["mlp_in"]]
    return Dimensions(
        n_layers=_required(config, entry.n_layers),
        hidden=hidden,
        mlp=_positive(config, entry.mlp) or 4 * hidden,
        query=heads * head,
        key=key_heads * head,
        max_positions=positions,
        head=head,
        vocab=_required(config, Key(("vocab_size",), entry.vocab)),
        embedding=_positive(config, entry.embedding) or hidden,
        position_rows=rows,
        tied=entry.tied if tied is None else bool(tied),
        gated=len(mlp_in) == 2 or mlp_in == ["gate_and_other"],
        **_experts(config, entry),
    )


def _experts(config: Mapping[str, Any], entry: Architecture) -> dict[str, int]:
    """How many experts there are, and how many a token is sent to."""
    if entry.experts is None:
        return {}
    n, chosen = _required(config, entry.n_experts), _required(config, entry.n_chosen)
    if chosen > n:
        name = entry.n_chosen.names[0]
        raise StudyError(f"architecture_config.{name}", chosen, f"at most the {n} experts that there are")
    for name, all_blocks in _ALL_BLOCKS.items():
        if config.get(name, all_blocks) not in (all_blocks, None):
            hint = "a model whose blocks differ in their sites cannot be read"
            raise StudyError(
                f"architecture_config.{name}", config[name], f"{all_blocks}: experts in all", hint
            )
    return {"experts": n, "chosen": chosen}


def _positive(config: Mapping[str, Any], key: Key) -> int | None:
    for name in key.names:
        value = config.get(name)
        if value is not None:
            most = _MOST_LAYERS if key == architecture(config.get("model_type")).n_layers else _MOST
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                allowed = "a positive integer"
                if isinstance(value, int) and value > most:
                    allowed = f"{most:,} or less"
                raise StudyError(f"architecture_config.{name}", value, allowed)
            return value
    if any(name in config for name in key.names):
        return None  # null: derived, whatever the default is
    return key.default


def _required(config: Mapping[str, Any], key: Key) -> int:
    value = _positive(config, key)
    if value is None:
        raise StudyError(f"architecture_config.{key.names[0]}", None, "a positive integer")
    return value


def n_parameters(config: Mapping[str, Any], *, active: bool = False) -> int:
    """Number of parameters of the model that a config describes, with its language head, within 1 %.

    Counted are the matrices and the tables: word embeddings (tied ones once, as they lie in memory and in
    the files of most suites), positions, attention, MLP, an encoder's head. Norms and biases are not: of
    published models they are less than 1 %.

    Args:
        config: As for :func:`dimensions`.
        active: Of the experts only as many as a token is sent to: what a token is computed with.

    Raises:
        StudyError: As for :func:`dimensions`.
    """
    entry, sizes = architecture(config.get("model_type")), dimensions(config)
    mlp = sum(int(getattr(sizes, part.width)) for part in entry.sites["mlp_in"]) + sizes.acts
    if active:
        mlp = mlp // sizes.experts * sizes.chosen
    router = sizes.experts if entry.experts else 0
    block = sizes.hidden * (sizes.query_key_value + sizes.query + mlp + router)
    tables = sizes.vocab * sizes.embedding * (1 if sizes.tied else 2) + sizes.position_rows * sizes.hidden
    if sizes.embedding != sizes.hidden:
        tables += 2 * sizes.embedding * sizes.hidden
    head = sizes.hidden**2 if entry.kind == "encoder" else 0
    return tables + sizes.n_layers * block + head


def n_layers(config: Mapping[str, Any]) -> int:
    """Number of blocks."""
    return dimensions(config).n_layers


def max_positions(config: Mapping[str, Any]) -> int | None:
    """Longest input in tokens, with start and end token; None if the config sets no limit."""
    return dimensions(config).max_positions


def site_widths(config: Mapping[str, Any], sites: Sequence[str]) -> dict[tuple[int, str], int]:
    """Number of units of each (layer, site).

    Args:
        config: As for :func:`dimensions`, maybe with :data:`DICTIONARIES`, whose names are sites too.
        sites: In the order of the study.

    Returns:
        In unit order: by layer, then by site as given. Only ``resid`` has a layer 0; a dictionary has the
        layers that it is there for.

    Raises:
        StudyError: If the architecture or a site is unknown.
    """
    latents = {name: of["latents"] for name, of in config.get(DICTIONARIES, {}).items()}
    check_sites(sites, latents)
    entry, sizes = architecture(config.get("model_type")), dimensions(config)
    widths = {"resid": sizes.hidden}
    for site, parts in entry.sites.items():
        widths[site] = sum(getattr(sizes, part.width) for part in parts)
    layers = range(sizes.n_layers + 1)
    of_layers = {site: dict.fromkeys(layers[site != "resid" :], width) for site, width in widths.items()}
    of_layers |= latents
    return {
        (layer, site): of_layers[site][layer]
        for layer in layers
        for site in sites
        if layer in of_layers[site]
    }
