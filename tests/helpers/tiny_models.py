"""Random tiny models of every architecture, and a tiny tokenizer, made in memory: no downloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedTokenizerFast

from babelscope.capture.store import LayerSite
from babelscope.models.architectures import SITES
from babelscope.models.architectures import architecture as find_architecture
from babelscope.models.checkpoints import LoadedModel, start_token
from babelscope.models.hooks import Watcher, block_list, site_modules, watching

WORDS = [
    *("the", "a", "house", "is", "red", "blue", "big", "water", "river", "burns", "flows", "in"),
    *("near", "one", "two", "three", "la", "casa", "es", "roja", "agua", "fluye", "cerca", "de"),
    *("un", "dos", "tres", "дом", "красный", "вода", "река", ".", ","),
]
SPECIAL = ["<s>", "</s>", "<pad>", "<unk>"]
VOCABULARY_SIZE = len(SPECIAL) + len(WORDS)

_LLAMA = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
}
_BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
}
_EXPERTS = {"intermediate_size": 12, "num_experts_per_tok": 2}
_FIRST_SLIDES = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}

#: Two blocks of width 16 each. Key heads, head sizes and MLPs have widths that tell them apart, and
#: windows are shorter than the sentences.
CONFIGS: dict[str, dict[str, Any]] = {
    "xglm": {"d_model": 16, "num_layers": 2, "attention_heads": 2, "ffn_dim": 40},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 48},
    "gpt_neox": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 40,
        "max_position_embeddings": 64,
    },
    "opt": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 40,
        "max_position_embeddings": 64,
    },
    "llama": _LLAMA,
    "mistral": {**_LLAMA, "sliding_window": 4},
    "qwen2": {**_LLAMA, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "qwen3": {**_LLAMA, "head_dim": 6},
    "gemma": {**_LLAMA, "head_dim": 6},
    "gemma2": {**_LLAMA, **_FIRST_SLIDES, "head_dim": 6, "query_pre_attn_scalar": 5},
    "gemma3_text": {**_LLAMA, **_FIRST_SLIDES, "head_dim": 6, "query_pre_attn_scalar": 5},
    "olmo": {**_LLAMA, "clip_qkv": 1.0},
    "olmo2": _LLAMA,
    "olmo3": {**_LLAMA, **_FIRST_SLIDES},
    "smollm3": {**_LLAMA, "no_rope_layers": [1, 0]},
    "apertus": {**_LLAMA, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    "olmoe": {**_LLAMA, **_EXPERTS, "num_experts": 5, "clip_qkv": 1.0},
    "mixtral": {**_LLAMA, **_EXPERTS, "num_local_experts": 5, "sliding_window": 4},
    "qwen3_moe": {
        **_LLAMA,
        "num_experts": 5,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 12,
        "head_dim": 6,
    },
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "modernbert": {**_BERT, "local_attention": 4, "layer_types": ["sliding_attention", "full_attention"]},
}
ARCHITECTURES = tuple(CONFIGS)
DECODERS = tuple(name for name in CONFIGS if find_architecture(name).kind == "decoder")
MIXTURES = tuple(name for name in CONFIGS if find_architecture(name).experts)
ENCODERS = tuple(name for name in CONFIGS if find_architecture(name).kind == "encoder")

SENTENCES = [
    ("house-0000", "the house is red"),
    ("house-0001", "la casa es roja ."),
    ("water-0000", "the water flows near the big red house , the river flows in a blue house"),
    ("water-0001", "agua"),
    ("water-0002", "вода , красный дом"),
    ("house-0002", "one two three house is near a river , the water is blue ."),
    ("house-0003", "a big blue river burns"),
]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Words as tokens; ``<s>`` is 0, ``</s>`` 1, ``<pad>`` 2, ``<unk>`` 3."""
    vocabulary = {token: position for position, token in enumerate([*SPECIAL, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


def tiny_model(architecture: str, *, seed: int = 0, scale: float = 0.3, **config: Any) -> Any:
    """A random model in eval mode.

    Args:
        architecture: A key of :data:`CONFIGS`.
        seed: Of the weights.
        scale: Spread of the weights. Larger than at initialisation, so that attention is not flat
            and a wrong value shows.
        config: Replaces or adds keys of the config.
    """
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    known = AutoConfig.for_model(
        architecture,
        **{"vocab_size": VOCABULARY_SIZE, **special, **CONFIGS[architecture], **config},
    )
    with_head = AutoModelForMaskedLM if architecture in ENCODERS else AutoModelForCausalLM
    model = with_head.from_config(known)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in model.parameters():
            noise = torch.randn(weights.shape, generator=generator) * scale
            weights.copy_(noise if weights.ndim > 1 else weights + noise)
    return model.eval()


def tiny_loaded(architecture: str, **arguments: Any) -> LoadedModel:
    """A tiny model with its tokenizer, as if it came from a folder."""
    model, tokenizer = tiny_model(architecture, **arguments), tiny_tokenizer()
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        start_id=start_token(tokenizer, model),
        pad_id=2,
        folder=Path(architecture),
        weights_hash="0" * 64,
        tokenizer_hash="1" * 64,
        end_id=1 if architecture in ENCODERS else None,
    )


def record(model: Any, ids: torch.Tensor, sites: Sequence[str] = SITES) -> dict[LayerSite, torch.Tensor]:
    """Every value of every site for one input without padding: (layer, site) -> (S, U)."""
    found: dict[LayerSite, list[torch.Tensor]] = {}
    watchers: list[Watcher] = []

    def watch(unit: LayerSite) -> Any:
        return lambda x: found.setdefault(unit, []).append(x[0].clone())

    for site in sites:
        for layer in range(0 if site == "resid" else 1, len(block_list(model)) + 1):
            watchers += [(place, watch((layer, site))) for place in site_modules(model, site, layer)]
    with torch.inference_mode(), watching(watchers):
        model(ids)
    return {unit: torch.cat(parts, dim=-1) for unit, parts in found.items()}
