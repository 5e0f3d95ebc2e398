"""Architectures as data: where the sites of a model are and how wide. Needs no torch.

A new architecture is one entry of :data:`ARCHITECTURES`. A site is a list of parts, each the input
or the output of a module inside a block; the units of a site are those of its parts, one after the
other, in the order in which the module itself stores them.

========  ==============================================================================
site      what it holds
========  ==============================================================================
mlp_in    output of the MLP's first linear map; gated MLPs: the gate's, which goes through
          the non-linearity, then the other's
mlp_act   input of the MLP's last linear map, what most call the neurons: act(mlp_in), or
          act(gate) * other in gated MLPs (Apertus has no gate)
mlp_out   output of the MLP's last linear map
attn_qkv  outputs of the query, key and value maps, one after the other. BLOOM and GPT-NeoX
          interleave them by head in one map, see :func:`head_units`. Before norms of
          queries and keys, clipping (OLMo) and rotation
attn_out  output of attention's last linear map
resid     residual stream: layer 0 the input of block 1, layer i the output of block i,
          before any final norm
========  ==============================================================================

``mlp_out`` and ``attn_out`` are what is added to the residual stream, except where a norm stands
between: after the map in OLMo-2, OLMo-3, Gemma 2 and Gemma 3, and after the sum in BERT, RoBERTa,
XLM-RoBERTa and OPT-350m. The input of block 1 holds what the model adds to or does with the word
embeddings: positions (all with learned or sinusoidal ones), a norm (BLOOM, BERT and its kin), a
projection (OPT-350m), a factor (XGLM, Gemma).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from babelscope.errors import StudyError

End = Literal["in", "out"]
Kind = Literal["decoder", "encoder"]
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
    head: int
    """One head."""
    vocab: int
    """Rows of the word embeddings."""
    embedding: int
    """Width of the word embeddings; not ``hidden`` only where they are projected."""
    position_rows: int
    """Rows of the table of learned positions; 0 without one."""
    token_types: int
    """Rows of the table of token types; 0 without one."""
    tied: bool
    """Whether the word embeddings are also the last map."""
    gated: bool
    """Whether the MLP has a gate."""

    @property
    def query_key_value(self) -> int:
        return self.query + 2 * self.key

    @property
    def gate_and_other(self) -> int:
        """Width of a gated MLP's first map where gate and other are one module."""
        return 2 * self.mlp


@dataclass(frozen=True)
class Part:
    """One end of one module, as (a part of) a site.

    Attributes:
        module: Path inside the block.
        end: ``in`` is what the module takes, ``out`` what it gives.
        width: The field of :class:`Dimensions` that is its number of units.
        flat: The module sees ``(B * S, width)``, where all others see ``(B, S, width)``.
    """

    module: str
    end: End
    width: str
    flat: bool = False


@dataclass(frozen=True)
class Key:
    """A size in ``config.json``.

    Attributes:
        names: The name, and other names that the config class takes for it.
        default: What the config class fills in. None: derived, see :func:`dimensions`.
    """

    names: tuple[str, ...] = ()
    default: int | None = None


@dataclass(frozen=True)
class Weights:
    """Tensors of parameters, for :func:`n_parameters`.

    Attributes:
        shape: Fields of :class:`Dimensions`; none for a single number.
        count: How many there are.
        switch: The key of the config that must be true for them to be there; none: they always are.
        default: What the config class fills in for the switch.
    """

    shape: tuple[str, ...]
    count: int = 1
    switch: str = ""
    default: bool = False


@dataclass(frozen=True)
class Architecture:
    """One family of models.

    Attributes:
        model_type: As in ``config.json``.
        config_class: Name of the config class in transformers, whose defaults the keys repeat.
        blocks: Path of the list of blocks in the model with its language head.
        sites: Parts of each site inside a block; ``resid`` is the same for all.
        vocab: Default of ``vocab_size``.
        tied: Default of ``tie_word_embeddings``.
        kind: A decoder predicts the next token. An encoder sees the tokens on both sides; its
            inputs have an end token, and it writes no text.
        interleaved: Whether ``attn_qkv`` goes head by head; else it is all queries, keys, values.
        embedding: Width of the word embeddings, if they are projected to ``hidden``.
        position_rows: Rows of the table of learned positions beyond the key ``max_positions``;
            None without such a table.
        padding: Default of ``pad_token_id`` where positions are counted from the one after it;
            so many fewer can be used than the config says.
        block_weights: Norms and biases of a block. The matrices follow from the sites.
        other_weights: Parameters outside the blocks, but for word embeddings and the last map.
    """

    model_type: str
    config_class: str
    blocks: str
    sites: Mapping[str, tuple[Part, ...]]
    n_layers: Key
    hidden: Key
    heads: Key
    vocab: int
    tied: bool
    block_weights: tuple[Weights, ...]
    other_weights: tuple[Weights, ...]
    max_positions: Key = Key()
    mlp: Key = Key()
    key_heads: Key = Key()
    head_size: Key = Key()
    embedding: Key = Key()
    token_types: Key = Key()
    kind: Kind = "decoder"
    interleaved: bool = False
    position_rows: int | None = None
    padding: int | None = None


def _fused(qkv: str, attn_out: str, mlp_in: str, mlp_out: str) -> dict[str, tuple[Part, ...]]:
    """Sites of a block with one map for query, key and value, and no gate."""
    return {
        "mlp_act": (Part(mlp_out, "in", "mlp"),),
        "mlp_in": (Part(mlp_in, "out", "mlp"),),
        "mlp_out": (Part(mlp_out, "out", "hidden"),),
        "attn_qkv": (Part(qkv, "out", "query_key_value"),),
        "attn_out": (Part(attn_out, "out", "hidden"),),
    }


def _apart(
    qkv: Sequence[str], attn_out: str, mlp_in: Sequence[str], mlp_out: str, *, flat: bool = False
) -> dict[str, tuple[Part, ...]]:
    """Sites of a block with three maps for query, key and value; two maps in ``mlp_in`` are a gate."""
    query, key, value = qkv
    return {
        "mlp_act": (Part(mlp_out, "in", "mlp", flat),),
        "mlp_in": tuple(Part(module, "out", "mlp", flat) for module in mlp_in),
        "mlp_out": (Part(mlp_out, "out", "hidden", flat),),
        "attn_qkv": (Part(query, "out", "query"), Part(key, "out", "key"), Part(value, "out", "key")),
        "attn_out": (Part(attn_out, "out", "hidden"),),
    }


_PROJECTIONS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_SELVES = ("attention.self.query", "attention.self.key", "attention.self.value")
_GATED = _apart(_PROJECTIONS, "self_attn.o_proj", ("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj")
_BERT = _apart(_SELVES, "attention.output.dense", ("intermediate.dense",), "output.dense")


def _biases(*widths: str, switch: str = "", default: bool = False) -> tuple[Weights, ...]:
    return tuple(Weights((width,), 1, switch, default) for width in widths)


_TWO_LAYER_NORMS = Weights(("hidden",), 4)
_ALL_BIASES = _biases("query_key_value", "hidden", "mlp", "hidden")
_ATTENTION_BIASES = _biases("query_key_value", "hidden", switch="attention_bias")
_GATED_MLP_BIASES = _biases("mlp", "mlp", "hidden", switch="mlp_bias")
_HEAD_NORMS = Weights(("head",), 2)
_WHOLE_NORMS = _biases("query", "key")
_FINAL_RMS_NORM = (Weights(("hidden",)),)
_FINAL_LAYER_NORM = (Weights(("hidden",), 2),)
_POSITIONS = Weights(("position_rows", "hidden"))
#: Tables and norm of the embeddings; matrix, bias, norm of the head and its bias per word.
_BERT_OTHERS = (
    _POSITIONS,
    Weights(("token_types", "hidden")),
    Weights(("hidden",), 2),
    Weights(("hidden", "hidden")),
    Weights(("hidden",), 3),
    Weights(("vocab",)),
)

_TWO_RMS_NORMS = Weights(("hidden",), 2)


def _like_llama(
    model_type: str,
    config_class: str,
    sizes: tuple[int, int, int, int | None, int],
    *,
    positions: int,
    vocab: int,
    block_weights: tuple[Weights, ...],
    other_weights: tuple[Weights, ...] = _FINAL_RMS_NORM,
    head: int | None = None,
    tied: bool = False,
    sites: Mapping[str, tuple[Part, ...]] = _GATED,
) -> Architecture:
    """A decoder whose modules and keys are named as Llama's.

    ``sizes`` are the defaults for blocks, width, heads, key heads (None: as many as heads) and MLP.
    """
    n_layers, hidden, heads, key_heads, mlp = sizes
    return Architecture(
        model_type=model_type,
        config_class=config_class,
        blocks="model.layers",
        sites=sites,
        n_layers=Key(("num_hidden_layers",), n_layers),
        hidden=Key(("hidden_size",), hidden),
        heads=Key(("num_attention_heads",), heads),
        key_heads=Key(("num_key_value_heads",), key_heads),
        head_size=Key(("head_dim",), head),
        mlp=Key(("intermediate_size",), mlp),
        max_positions=Key(("max_position_embeddings",), positions),
        vocab=vocab,
        tied=tied,
        block_weights=block_weights,
        other_weights=other_weights,
    )


def _like_bert(
    model_type: str, config_class: str, blocks: str, *, vocab: int, padding: int | None
) -> Architecture:
    """An encoder with BERT's modules."""
    return Architecture(
        model_type=model_type,
        config_class=config_class,
        blocks=blocks,
        sites=_BERT,
        n_layers=Key(("num_hidden_layers",), 12),
        hidden=Key(("hidden_size",), 768),
        heads=Key(("num_attention_heads",), 12),
        mlp=Key(("intermediate_size",), 3072),
        max_positions=Key(("max_position_embeddings",), 512),
        token_types=Key(("type_vocab_size",), 2),
        kind="encoder",
        position_rows=0,
        padding=padding,
        vocab=vocab,
        tied=True,
        block_weights=(_TWO_LAYER_NORMS, *_ALL_BIASES),
        other_weights=_BERT_OTHERS,
    )


ARCHITECTURES: dict[str, Architecture] = {
    entry.model_type: entry
    for entry in (
        Architecture(
            model_type="xglm",
            config_class="XGLMConfig",
            blocks="model.layers",
            sites=_apart(_PROJECTIONS, "self_attn.out_proj", ("fc1",), "fc2"),
            n_layers=Key(("num_layers", "num_hidden_layers"), 24),
            hidden=Key(("d_model", "hidden_size"), 1024),
            heads=Key(("attention_heads", "num_attention_heads"), 16),
            mlp=Key(("ffn_dim",), 4096),
            max_positions=Key(("max_position_embeddings",), 2048),
            vocab=256008,
            tied=True,
            block_weights=(_TWO_LAYER_NORMS, *_ALL_BIASES),
            other_weights=_FINAL_LAYER_NORM,
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
            interleaved=True,
            n_layers=Key(("n_layer", "num_hidden_layers"), 2),
            hidden=Key(("n_embed", "hidden_size"), 64),
            heads=Key(("n_head", "num_attention_heads"), 8),
            vocab=250880,
            tied=True,
            block_weights=(_TWO_LAYER_NORMS, *_ALL_BIASES),
            other_weights=(Weights(("hidden",), 2), *_FINAL_LAYER_NORM),
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
            position_rows=0,
            vocab=50257,
            tied=True,
            block_weights=(_TWO_LAYER_NORMS, *_ALL_BIASES),
            other_weights=(_POSITIONS, *_FINAL_LAYER_NORM),
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
            interleaved=True,
            n_layers=Key(("num_hidden_layers",), 44),
            hidden=Key(("hidden_size",), 6144),
            heads=Key(("num_attention_heads",), 64),
            mlp=Key(("intermediate_size",), 24576),
            max_positions=Key(("max_position_embeddings",), 2048),
            vocab=50432,
            tied=False,
            block_weights=(
                _TWO_LAYER_NORMS,
                *_biases("query_key_value", "hidden", switch="attention_bias", default=True),
                *_biases("mlp", "hidden"),
            ),
            other_weights=_FINAL_LAYER_NORM,
        ),
        Architecture(
            model_type="opt",
            config_class="OPTConfig",
            blocks="model.decoder.layers",
            sites=_apart(_PROJECTIONS, "self_attn.out_proj", ("fc1",), "fc2", flat=True),
            n_layers=Key(("num_hidden_layers",), 12),
            hidden=Key(("hidden_size",), 768),
            heads=Key(("num_attention_heads",), 12),
            mlp=Key(("ffn_dim",), 3072),
            max_positions=Key(("max_position_embeddings",), 2048),
            position_rows=2,
            embedding=Key(("word_embed_proj_dim",)),
            vocab=50272,
            tied=True,
            block_weights=(
                _TWO_LAYER_NORMS,
                *_biases("query_key_value", "hidden", "mlp", "hidden", switch="enable_bias", default=True),
            ),
            other_weights=(_POSITIONS, Weights(("hidden",), 2, "do_layer_norm_before", True)),
        ),
        _like_llama(
            "llama",
            "LlamaConfig",
            (32, 4096, 32, None, 11008),
            positions=2048,
            vocab=32000,
            block_weights=(_TWO_RMS_NORMS, *_ATTENTION_BIASES, *_GATED_MLP_BIASES),
        ),
        _like_llama(
            "mistral",
            "MistralConfig",
            (32, 4096, 32, 8, 14336),
            positions=131072,
            vocab=32000,
            block_weights=(_TWO_RMS_NORMS,),
        ),
        _like_llama(
            "qwen2",
            "Qwen2Config",
            (32, 4096, 32, 32, 22016),
            positions=32768,
            vocab=151936,
            block_weights=(_TWO_RMS_NORMS, *_biases("query_key_value")),
        ),
        _like_llama(
            "qwen3",
            "Qwen3Config",
            (32, 4096, 32, 32, 22016),
            positions=32768,
            vocab=151936,
            head=128,
            block_weights=(_TWO_RMS_NORMS, _HEAD_NORMS, *_ATTENTION_BIASES),
        ),
        _like_llama(
            "gemma",
            "GemmaConfig",
            (28, 3072, 16, 16, 24576),
            positions=8192,
            vocab=256000,
            head=256,
            tied=True,
            block_weights=(_TWO_RMS_NORMS, *_ATTENTION_BIASES),
        ),
        _like_llama(
            "gemma2",
            "Gemma2Config",
            (26, 2304, 8, 4, 9216),
            positions=8192,
            vocab=256000,
            head=256,
            tied=True,
            block_weights=(_TWO_RMS_NORMS, _TWO_RMS_NORMS, *_ATTENTION_BIASES),
        ),
        _like_llama(
            "gemma3_text",
            "Gemma3TextConfig",
            (26, 2304, 8, 4, 9216),
            positions=131072,
            vocab=262208,
            head=256,
            tied=True,
            block_weights=(_TWO_RMS_NORMS, _TWO_RMS_NORMS, _HEAD_NORMS, *_ATTENTION_BIASES),
        ),
        _like_llama(
            "olmo",
            "OlmoConfig",
            (32, 4096, 32, None, 11008),
            positions=2048,
            vocab=50304,
            block_weights=_ATTENTION_BIASES,
            other_weights=(),  # its norms have no parameters
        ),
        _like_llama(
            "olmo2",
            "Olmo2Config",
            (32, 4096, 32, None, 11008),
            positions=2048,
            vocab=50304,
            block_weights=(_TWO_RMS_NORMS, *_WHOLE_NORMS, *_ATTENTION_BIASES),
        ),
        _like_llama(
            "olmo3",
            "Olmo3Config",
            (32, 4096, 32, None, 11008),
            positions=2048,
            vocab=50304,
            block_weights=(_TWO_RMS_NORMS, *_WHOLE_NORMS, *_ATTENTION_BIASES),
        ),
        _like_llama(
            "smollm3",
            "SmolLM3Config",
            (36, 2048, 16, 4, 11008),
            positions=32768,
            vocab=128256,
            tied=True,
            block_weights=(_TWO_RMS_NORMS, *_ATTENTION_BIASES, *_GATED_MLP_BIASES),
        ),
        _like_llama(
            "apertus",
            "ApertusConfig",
            (32, 4096, 32, None, 14336),
            positions=65536,
            vocab=131072,
            sites=_apart(_PROJECTIONS, "self_attn.o_proj", ("mlp.up_proj",), "mlp.down_proj"),
            # xIELU has two numbers of its own.
            block_weights=(_TWO_RMS_NORMS, _HEAD_NORMS, Weights((), 2), *_ATTENTION_BIASES),
        ),
        _like_bert("bert", "BertConfig", "bert.encoder.layer", vocab=30522, padding=None),
        _like_bert("roberta", "RobertaConfig", "roberta.encoder.layer", vocab=50265, padding=1),
        _like_bert("xlm-roberta", "XLMRobertaConfig", "roberta.encoder.layer", vocab=30522, padding=1),
        Architecture(
            model_type="modernbert",
            config_class="ModernBertConfig",
            blocks="model.layers",
            kind="encoder",
            sites={
                **_fused("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"),
                "mlp_in": (Part("mlp.Wi", "out", "gate_and_other"),),
            },
            n_layers=Key(("num_hidden_layers",), 22),
            hidden=Key(("hidden_size",), 768),
            heads=Key(("num_attention_heads",), 12),
            mlp=Key(("intermediate_size",), 1152),
            max_positions=Key(("max_position_embeddings",), 8192),
            vocab=50368,
            tied=True,
            block_weights=(
                Weights(("hidden",), 2),
                Weights(("hidden",), 2, "norm_bias"),
                *_ATTENTION_BIASES,
                *_biases("gate_and_other", "hidden", switch="mlp_bias"),
            ),
            # Norms of embeddings, last block and head; but block 1 has none before its attention.
            other_weights=(
                Weights(("hidden",), 2),
                Weights(("hidden",), 2, "norm_bias"),
                Weights(("hidden", "hidden")),
                Weights(("hidden",), 1, "classifier_bias"),
                Weights(("vocab",), 1, "decoder_bias", True),
            ),
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
            "another architecture is one more entry of the table in babelscope/models/architectures.py",
        )
    return ARCHITECTURES[model_type]


def dimensions(config: Mapping[str, Any]) -> Dimensions:
    """Sizes of the model that a config describes.

    Args:
        config: As in ``config.json``: ``model_type``, and what differs from its class's defaults.

    Raises:
        StudyError: If the architecture is unknown, a size is no positive integer, key heads do not
            divide the heads, or no position is left beside those for padding.
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
        token_types=_positive(config, entry.token_types) or 0,
        tied=entry.tied if tied is None else bool(tied),
        gated=len(mlp_in) == 2 or mlp_in == ["gate_and_other"],
    )


def _positive(config: Mapping[str, Any], key: Key) -> int | None:
    for name in key.names:
        value = config.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                where = f"architecture_config.{name}"
                raise StudyError(where, value, "a positive integer")
            return value
    if any(name in config for name in key.names):
        return None  # null: derived, whatever the default is
    return key.default


def _required(config: Mapping[str, Any], key: Key) -> int:
    value = _positive(config, key)
    if value is None:
        raise StudyError(f"architecture_config.{key.names[0]}", None, "a positive integer")
    return value


def n_parameters(config: Mapping[str, Any]) -> int:
    """Number of parameters of the model that a config describes, with its language head.

    Tied word embeddings count once, as they lie in memory and in the files of most suites. Exact for
    the settings that the table knows: sizes, biases, norms. Not for those that no published model of
    the table uses, such as norms without parameters in OPT or untied BERT.

    Args:
        config: As for :func:`dimensions`.

    Raises:
        StudyError: As for :func:`dimensions`.
    """
    entry, sizes = architecture(config.get("model_type")), dimensions(config)
    mlp_in = sum(int(getattr(sizes, part.width)) for part in entry.sites["mlp_in"])
    block = (
        sizes.hidden * sizes.query_key_value
        + sizes.query * sizes.hidden
        + sizes.hidden * mlp_in
        + sizes.mlp * sizes.hidden
        + _count(config, sizes, entry.block_weights)
    )
    embeddings = sizes.vocab * sizes.embedding * (1 if sizes.tied else 2)
    if sizes.embedding != sizes.hidden:
        embeddings += 2 * sizes.embedding * sizes.hidden
    return embeddings + sizes.n_layers * block + _count(config, sizes, entry.other_weights)


def _count(config: Mapping[str, Any], sizes: Dimensions, weights: Sequence[Weights]) -> int:
    there = [part for part in weights if not part.switch or config.get(part.switch, part.default)]
    return sum(part.count * prod(int(getattr(sizes, width)) for width in part.shape) for part in there)


def head_units(config: Mapping[str, Any], what: str, head: int) -> range:
    """Where a head's queries, keys or values stand in the site ``attn_qkv``.

    Args:
        config: As for :func:`dimensions`.
        what: ``query``, ``key`` or ``value``.
        head: From 0; of keys and values there may be fewer heads.

    Raises:
        ValueError: If there is no such head.
    """
    entry, sizes = architecture(config.get("model_type")), dimensions(config)
    order = ("query", "key", "value").index(what)
    n_heads = (sizes.query if order == 0 else sizes.key) // sizes.head
    if not 0 <= head < n_heads:
        raise ValueError(f"{what} has heads 0 to {n_heads - 1}; got {head}")
    if entry.interleaved:
        start = (3 * head + order) * sizes.head
    else:
        start = (0, sizes.query, sizes.query + sizes.key)[order] + head * sizes.head
    return range(start, start + sizes.head)


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether the model sees the tokens on both sides, and writes no text."""
    return architecture(config.get("model_type")).kind == "encoder"


def n_layers(config: Mapping[str, Any]) -> int:
    """Number of blocks."""
    return dimensions(config).n_layers


def hidden_size(config: Mapping[str, Any]) -> int:
    """Width of the residual stream."""
    return dimensions(config).hidden


def max_positions(config: Mapping[str, Any]) -> int | None:
    """Longest input in tokens, with start and end token; None if the config sets no limit."""
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
