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
from typing import Any, Literal

from babelscope.errors import StudyError

End = Literal["in", "out"]
Kind = Literal["decoder", "encoder"]
SITES = ("mlp_act", "mlp_in", "mlp_out", "attn_qkv", "attn_out", "resid")


@dataclass(frozen=True)
class Part:
    """One end of one module, as (a part of) a site.

    Attributes:
        module: Path inside the block.
        end: ``in`` is what the module takes, ``out`` what it gives.
        width: The field of :class:`babelscope.models.dimensions.Dimensions` that is its number of units.
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
        default: What the config class fills in. None: derived, see
            :func:`babelscope.models.dimensions.dimensions`.
    """

    names: tuple[str, ...] = ()
    default: int | None = None


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
    max_positions: Key = Key()
    mlp: Key = Key()
    key_heads: Key = Key()
    head_size: Key = Key()
    embedding: Key = Key()
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


def _like_llama(
    model_type: str,
    config_class: str,
    sizes: tuple[int, int, int, int | None, int | None, int, int, int],
    *,
    tied: bool = False,
    sites: Mapping[str, tuple[Part, ...]] = _GATED,
) -> Architecture:
    """A decoder whose modules and keys are named as Llama's.

    ``sizes`` are the defaults for blocks, width, heads, key heads (None: as many as heads), the size of a
    head (None: the width over the heads), MLP, positions and vocabulary.
    """
    n_layers, hidden, heads, key_heads, head, mlp, positions, vocab = sizes
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
        kind="encoder",
        position_rows=0,
        padding=padding,
        vocab=vocab,
        tied=True,
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
        ),
        # Blocks, width, heads, key heads, head size, MLP, positions, vocabulary.
        _like_llama("llama", "LlamaConfig", (32, 4096, 32, None, None, 11008, 2048, 32000)),
        _like_llama("mistral", "MistralConfig", (32, 4096, 32, 8, None, 14336, 131072, 32000)),
        _like_llama("qwen2", "Qwen2Config", (32, 4096, 32, 32, None, 22016, 32768, 151936)),
        _like_llama("qwen3", "Qwen3Config", (32, 4096, 32, 32, 128, 22016, 32768, 151936)),
        _like_llama("gemma", "GemmaConfig", (28, 3072, 16, 16, 256, 24576, 8192, 256000), tied=True),
        _like_llama("gemma2", "Gemma2Config", (26, 2304, 8, 4, 256, 9216, 8192, 256000), tied=True),
        _like_llama(
            "gemma3_text", "Gemma3TextConfig", (26, 2304, 8, 4, 256, 9216, 131072, 262208), tied=True
        ),
        _like_llama("olmo", "OlmoConfig", (32, 4096, 32, None, None, 11008, 2048, 50304)),
        _like_llama("olmo2", "Olmo2Config", (32, 4096, 32, None, None, 11008, 2048, 50304)),
        _like_llama("olmo3", "Olmo3Config", (32, 4096, 32, None, None, 11008, 2048, 50304)),
        _like_llama("smollm3", "SmolLM3Config", (36, 2048, 16, 4, None, 11008, 32768, 128256), tied=True),
        _like_llama(
            "apertus",
            "ApertusConfig",
            (32, 4096, 32, None, None, 14336, 65536, 131072),
            sites=_apart(_PROJECTIONS, "self_attn.o_proj", ("mlp.up_proj",), "mlp.down_proj"),
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


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether the model sees the tokens on both sides, and writes no text."""
    return architecture(config.get("model_type")).kind == "encoder"


def check_sites(sites: Sequence[str]) -> None:
    """Refuse unknown and repeated sites.

    Raises:
        StudyError: With those that exist.
    """
    if not sites or len(set(sites)) != len(sites) or not set(sites) <= set(SITES):
        allowed = "a list of one or more different ones of " + ", ".join(SITES)
        raise StudyError("extraction.sites", list(sites), allowed)
