"""Architectures as data: where the sites of a model are and how wide. Needs no torch.

A new architecture is one entry of :data:`ARCHITECTURES`. A site is a list of parts, each the input
or the output of a module inside a block; the units of a site are those of its parts, one after the
other, in the order in which the module itself stores them.

========  ==============================================================================
site      what it holds
========  ==============================================================================
mlp_in    output of the MLP's first linear map; gated MLPs: the gate's, then the other's
mlp_act   input of the MLP's last linear map, so after the non-linearity and the gate
mlp_out   output of the MLP's last linear map, before it is added to the residual stream
attn_qkv  outputs of the query, key and value maps, one after the other if they are apart.
          BLOOM and GPT-NeoX interleave them by head in one map
attn_out  output of attention's last linear map, before it is added to the residual stream
resid     residual stream: layer 0 the input of block 1, layer i the output of block i,
          before any final norm
========  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from babelscope.errors import StudyError

End = Literal["in", "out"]
SITES = ("mlp_act", "mlp_in", "mlp_out", "attn_qkv", "attn_out", "resid")


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

    @property
    def query_key_value(self) -> int:
        return self.query + 2 * self.key


@dataclass(frozen=True)
class Part:
    """One end of one module, as (a part of) a site.

    Attributes:
        module: Path inside the block.
        end: ``in`` is what the module takes, ``out`` what it gives.
        width: The field of :class:`Dimensions` that is its number of units.
    """

    module: str
    end: End
    width: str


@dataclass(frozen=True)
class Key:
    """A key of ``config.json``.

    Attributes:
        names: The name, and other names that the config class takes for it.
        default: What the config class fills in. None: derived, see :func:`dimensions`.
    """

    names: tuple[str, ...] = ()
    default: int | None = None


@dataclass(frozen=True)
class Architecture:
    """One family of models.

    Attributes:
        model_type: As in ``config.json``.
        config_class: Name of the config class in transformers, whose defaults the keys repeat.
        blocks: Path of the list of blocks in the causal language model.
        sites: Parts of each site inside a block; ``resid`` is the same for all.
    """

    model_type: str
    config_class: str
    blocks: str
    sites: Mapping[str, tuple[Part, ...]]
    n_layers: Key
    hidden: Key
    heads: Key
    max_positions: Key = Key()
    mlp: Key = Key()
    key_heads: Key = Key()
    head_size: Key = Key()


def _fused(qkv: str, attn_out: str, mlp_in: str, mlp_out: str) -> dict[str, tuple[Part, ...]]:
    """Sites of a block with one map for query, key and value, and no gate."""
    return {
        "mlp_act": (Part(mlp_out, "in", "mlp"),),
        "mlp_in": (Part(mlp_in, "out", "mlp"),),
        "mlp_out": (Part(mlp_out, "out", "hidden"),),
        "attn_qkv": (Part(qkv, "out", "query_key_value"),),
        "attn_out": (Part(attn_out, "out", "hidden"),),
    }


ARCHITECTURES: dict[str, Architecture] = {
    entry.model_type: entry
    for entry in (
        Architecture(
            model_type="xglm",
            config_class="XGLMConfig",
            blocks="model.layers",
            sites={
                "mlp_act": (Part("fc2", "in", "mlp"),),
                "mlp_in": (Part("fc1", "out", "mlp"),),
                "mlp_out": (Part("fc2", "out", "hidden"),),
                "attn_qkv": (
                    Part("self_attn.q_proj", "out", "query"),
                    Part("self_attn.k_proj", "out", "key"),
                    Part("self_attn.v_proj", "out", "key"),
                ),
                "attn_out": (Part("self_attn.out_proj", "out", "hidden"),),
            },
            n_layers=Key(("num_layers", "num_hidden_layers"), 24),
            hidden=Key(("d_model", "hidden_size"), 1024),
            heads=Key(("attention_heads", "num_attention_heads"), 16),
            mlp=Key(("ffn_dim",), 4096),
            max_positions=Key(("max_position_embeddings",), 2048),
        ),
        Architecture(
            model_type="bloom",
            config_class="BloomConfig",
            blocks="transformer.h",
            sites=_fused(
                "self_attention.query_key_value",
                "self_attention.dense",
                "mlp.dense_h_to_4h",
                "mlp.dense_4h_to_h",
            ),
            n_layers=Key(("n_layer", "num_hidden_layers"), 2),
            hidden=Key(("n_embed", "hidden_size"), 64),
            heads=Key(("n_head", "num_attention_heads"), 8),
        ),
        Architecture(
            model_type="gpt2",
            config_class="GPT2Config",
            blocks="transformer.h",
            sites=_fused("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
            n_layers=Key(("n_layer", "num_hidden_layers"), 12),
            hidden=Key(("n_embd", "hidden_size"), 768),
            heads=Key(("n_head", "num_attention_heads"), 12),
            mlp=Key(("n_inner",)),
            max_positions=Key(("n_positions", "max_position_embeddings"), 1024),
        ),
        Architecture(
            model_type="gpt_neox",
            config_class="GPTNeoXConfig",
            blocks="gpt_neox.layers",
            sites=_fused(
                "attention.query_key_value",
                "attention.dense",
                "mlp.dense_h_to_4h",
                "mlp.dense_4h_to_h",
            ),
            n_layers=Key(("num_hidden_layers",), 44),
            hidden=Key(("hidden_size",), 6144),
            heads=Key(("num_attention_heads",), 64),
            mlp=Key(("intermediate_size",), 24576),
            max_positions=Key(("max_position_embeddings",), 2048),
        ),
        Architecture(
            model_type="llama",
            config_class="LlamaConfig",
            blocks="model.layers",
            sites={
                "mlp_act": (Part("mlp.down_proj", "in", "mlp"),),
                "mlp_in": (
                    Part("mlp.gate_proj", "out", "mlp"),
                    Part("mlp.up_proj", "out", "mlp"),
                ),
                "mlp_out": (Part("mlp.down_proj", "out", "hidden"),),
                "attn_qkv": (
                    Part("self_attn.q_proj", "out", "query"),
                    Part("self_attn.k_proj", "out", "key"),
                    Part("self_attn.v_proj", "out", "key"),
                ),
                "attn_out": (Part("self_attn.o_proj", "out", "hidden"),),
            },
            n_layers=Key(("num_hidden_layers",), 32),
            hidden=Key(("hidden_size",), 4096),
            heads=Key(("num_attention_heads",), 32),
            key_heads=Key(("num_key_value_heads",)),
            head_size=Key(("head_dim",)),
            mlp=Key(("intermediate_size",), 11008),
            max_positions=Key(("max_position_embeddings",), 2048),
        ),
    )
}


def architecture(model_type: Any) -> Architecture:
    """The entry of an architecture.

    Raises:
        StudyError: If there is none, with those that exist.
    """
    if model_type not in ARCHITECTURES:
        raise StudyError(
            "architecture",
            model_type,
            "one of " + ", ".join(sorted(ARCHITECTURES)),
            "another architecture is one more entry of the table in babelscope/architectures.py",
        )
    return ARCHITECTURES[model_type]


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Sizes of the model that a config describes.

    Args:
        config: As in ``config.json``: ``model_type``, and what differs from its class's defaults.

    Raises:
        StudyError: If the architecture is unknown or a size is no positive integer.
    """
    entry = architecture(config.get("model_type"))
    hidden = _positive(config, entry.hidden)
    heads = _positive(config, entry.heads)
    assert hidden is not None
    assert heads is not None
    head_size = _positive(config, entry.head_size) or hidden // heads
    n_layers = _positive(config, entry.n_layers)
    assert n_layers is not None
    return Dimensions(
        n_layers=n_layers,
        hidden=hidden,
        mlp=_positive(config, entry.mlp) or 4 * hidden,
        query=heads * head_size,
        key=(_positive(config, entry.key_heads) or heads) * head_size,
        max_positions=_positive(config, entry.max_positions),
    )


def _positive(config: Mapping[str, Any], key: Key) -> int | None:
    for name in key.names:
        value = config.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                where = f"architecture_config.{name}"
                raise StudyError(where, value, "a positive integer")
            return value
    return key.default


def n_layers(config: Mapping[str, Any]) -> int:
    """Number of blocks."""
    return dimensions(config).n_layers


def hidden_size(config: Mapping[str, Any]) -> int:
    """Width of the residual stream."""
    return dimensions(config).hidden


def max_positions(config: Mapping[str, Any]) -> int | None:
    """Longest input in tokens, with the start token; None if the config sets no limit."""
    return dimensions(config).max_positions


def check_sites(sites: Sequence[str]) -> None:
    """Refuse unknown and repeated sites.

    Raises:
        StudyError: With those that exist.
    """
    if not sites or len(set(sites)) != len(sites) or not set(sites) <= set(SITES):
        allowed = "a list of one or more different ones of " + ", ".join(SITES)
        raise StudyError("extraction.sites", list(sites), allowed)


def site_widths(config: Mapping[str, Any], sites: Sequence[str]) -> dict[tuple[int, str], int]:
    """Number of units of each (layer, site).

    Args:
        config: As for :func:`dimensions`.
        sites: In the order of the study.

    Returns:
        In unit order: by layer, then by site as given. Only ``resid`` has a layer 0.

    Raises:
        StudyError: If the architecture or a site is unknown.
    """
    check_sites(sites)
    entry, sizes = architecture(config.get("model_type")), dimensions(config)
    widths = {"resid": sizes.hidden}
    for site, parts in entry.sites.items():
        widths[site] = sum(getattr(sizes, part.width) for part in parts)
    layers = range(sizes.n_layers + 1)
    return {(layer, site): widths[site] for layer in layers for site in sites if layer or site == "resid"}
