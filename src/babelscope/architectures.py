"""Architectures as data: where the sites of a block lie, and how wide they are.

A new architecture is one entry of :data:`ARCHITECTURES`. This module does not import torch, so that a
study can be checked before any job is planned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from babelscope.errors import StudyError

Config = Mapping[str, Any]
Width = Callable[[Config], int]

SITES = ("attn_qkv", "attn_out", "mlp_in", "mlp_act", "mlp_out", "resid")


@dataclass(frozen=True)
class Site:
    """Where a site's values are read: a part of a block, at its output (``out``) or input (``in``).

    A site of several parts (separate query, key and value maps) is their concatenation.
    """

    parts: tuple[tuple[str, str], ...]
    width: Width


@dataclass(frozen=True)
class Architecture:
    """One model type of transformers.

    Attributes:
        config_class: Name of its config class.
        blocks: Path of the list of blocks inside the causal language model.
        n_layers, hidden_size: Names of these settings in the config.
        max_positions: Name of the setting that bounds the input length; empty if nothing does.
        sites: The sites other than ``resid``, which is the block itself.
        defaults: The config class's defaults of the settings that are read here.
    """

    config_class: str
    blocks: str
    n_layers: str
    hidden_size: str
    max_positions: str
    sites: Mapping[str, Site]
    defaults: Config


def _key(name: str) -> Width:
    return lambda config: int(config[name])


def _times(name: str, factor: int) -> Width:
    return lambda config: factor * int(config[name])


def _or(name: str, otherwise: Width) -> Width:
    return lambda config: int(config[name]) if config.get(name) else otherwise(config)


def _llama_qkv(config: Config) -> int:
    heads = int(config["num_attention_heads"])
    head_dim = int(config.get("head_dim") or config["hidden_size"] // heads)
    key_value_heads = int(config.get("num_key_value_heads") or heads)
    return head_dim * (heads + 2 * key_value_heads)


ARCHITECTURES: dict[str, Architecture] = {
    "xglm": Architecture(
        config_class="XGLMConfig",
        blocks="model.layers",
        n_layers="num_layers",
        hidden_size="d_model",
        max_positions="max_position_embeddings",
        sites={
            "attn_qkv": Site(
                (("self_attn.q_proj", "out"), ("self_attn.k_proj", "out"), ("self_attn.v_proj", "out")),
                _times("d_model", 3),
            ),
            "attn_out": Site((("self_attn.out_proj", "out"),), _key("d_model")),
            "mlp_in": Site((("fc1", "out"),), _key("ffn_dim")),
            "mlp_act": Site((("fc2", "in"),), _key("ffn_dim")),
            "mlp_out": Site((("fc2", "out"),), _key("d_model")),
        },
        defaults={"d_model": 1024, "num_layers": 24, "ffn_dim": 4096, "max_position_embeddings": 2048},
    ),
    "bloom": Architecture(
        config_class="BloomConfig",
        blocks="transformer.h",
        n_layers="n_layer",
        hidden_size="hidden_size",
        max_positions="",
        sites={
            "attn_qkv": Site((("self_attention.query_key_value", "out"),), _times("hidden_size", 3)),
            "attn_out": Site((("self_attention.dense", "out"),), _key("hidden_size")),
            "mlp_in": Site((("mlp.dense_h_to_4h", "out"),), _times("hidden_size", 4)),
            "mlp_act": Site((("mlp.dense_4h_to_h", "in"),), _times("hidden_size", 4)),
            "mlp_out": Site((("mlp.dense_4h_to_h", "out"),), _key("hidden_size")),
        },
        defaults={"hidden_size": 64, "n_layer": 2},
    ),
    "gpt2": Architecture(
        config_class="GPT2Config",
        blocks="transformer.h",
        n_layers="n_layer",
        hidden_size="n_embd",
        max_positions="n_positions",
        sites={
            "attn_qkv": Site((("attn.c_attn", "out"),), _times("n_embd", 3)),
            "attn_out": Site((("attn.c_proj", "out"),), _key("n_embd")),
            "mlp_in": Site((("mlp.c_fc", "out"),), _or("n_inner", _times("n_embd", 4))),
            "mlp_act": Site((("mlp.c_proj", "in"),), _or("n_inner", _times("n_embd", 4))),
            "mlp_out": Site((("mlp.c_proj", "out"),), _key("n_embd")),
        },
        defaults={"n_embd": 768, "n_layer": 12, "n_positions": 1024},
    ),
    "gpt_neox": Architecture(
        config_class="GPTNeoXConfig",
        blocks="gpt_neox.layers",
        n_layers="num_hidden_layers",
        hidden_size="hidden_size",
        max_positions="max_position_embeddings",
        sites={
            "attn_qkv": Site((("attention.query_key_value", "out"),), _times("hidden_size", 3)),
            "attn_out": Site((("attention.dense", "out"),), _key("hidden_size")),
            "mlp_in": Site((("mlp.dense_h_to_4h", "out"),), _key("intermediate_size")),
            "mlp_act": Site((("mlp.dense_4h_to_h", "in"),), _key("intermediate_size")),
            "mlp_out": Site((("mlp.dense_4h_to_h", "out"),), _key("hidden_size")),
        },
        defaults={
            "hidden_size": 6144,
            "num_hidden_layers": 44,
            "intermediate_size": 24576,
            "max_position_embeddings": 2048,
        },
    ),
    # The MLP has a gate: the neuron is act(gate) * up, the input of the second map.
    "llama": Architecture(
        config_class="LlamaConfig",
        blocks="model.layers",
        n_layers="num_hidden_layers",
        hidden_size="hidden_size",
        max_positions="max_position_embeddings",
        sites={
            "attn_qkv": Site(
                (("self_attn.q_proj", "out"), ("self_attn.k_proj", "out"), ("self_attn.v_proj", "out")),
                _llama_qkv,
            ),
            "attn_out": Site((("self_attn.o_proj", "out"),), _key("hidden_size")),
            "mlp_in": Site((("mlp.gate_proj", "out"),), _key("intermediate_size")),
            "mlp_act": Site((("mlp.down_proj", "in"),), _key("intermediate_size")),
            "mlp_out": Site((("mlp.down_proj", "out"),), _key("hidden_size")),
        },
        defaults={
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "intermediate_size": 11008,
            "num_attention_heads": 32,
            "max_position_embeddings": 2048,
        },
    ),
}


def architecture(model_type: str) -> Architecture:
    """The entry of a model type.

    Raises:
        StudyError: If there is none, with the list of those there are.
    """
    if model_type not in ARCHITECTURES:
        hint = "a new architecture is one entry in src/babelscope/architectures.py"
        raise StudyError("architecture", model_type, ", ".join(ARCHITECTURES), hint)
    return ARCHITECTURES[model_type]


def n_layers(config: Config) -> int:
    """Number of blocks.

    Args:
        config: A model's config, with ``model_type``; missing settings take the class's defaults.
    """
    entry = architecture(config["model_type"])
    return int({**entry.defaults, **config}[entry.n_layers])


def hidden_size(config: Config) -> int:
    """Width of the residual stream."""
    entry = architecture(config["model_type"])
    return int({**entry.defaults, **config}[entry.hidden_size])


def max_positions(config: Config) -> int | None:
    """Longest input in tokens; None if nothing bounds it."""
    entry = architecture(config["model_type"])
    if not entry.max_positions:
        return None
    return int({**entry.defaults, **config}[entry.max_positions])


def site_widths(config: Config, sites: Sequence[str]) -> dict[tuple[int, str], int]:
    """Units of every (layer, site), in unit order: by layer, then as ``sites`` lists them.

    Args:
        config: A model's config, with ``model_type``; missing settings take the class's defaults.
        sites: Names from :data:`SITES`. ``resid`` has layer 0 too.

    Raises:
        StudyError: If the model type or a site is unknown.
    """
    entry = architecture(config["model_type"])
    full = {**entry.defaults, **config}
    for site in sites:
        if site not in SITES:
            raise StudyError("extraction.sites", site, ", ".join(SITES))
    widths: dict[tuple[int, str], int] = {}
    for layer in range(n_layers(config) + 1):
        for site in sites:
            if site == "resid":
                widths[layer, site] = hidden_size(config)
            elif layer > 0:
                widths[layer, site] = entry.sites[site].width(full)
    return widths
