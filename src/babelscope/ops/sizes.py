"""How much memory and disk a job needs, from the shapes of its model. Needs no torch: it sets ``mem_mb``.

Every term is a shape that the code holds, or a constant measured with ``benchmarks/measure_memory.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from babelscope.capture.settings import ExtractionSettings
from babelscope.models.dimensions import DICTIONARIES, dimensions, n_parameters, site_widths

#: Bytes of a number of a type.
WIDTH = {"float32": 4, "float16": 2, "bfloat16": 2}

#: An interpreter that has imported torch, transformers and what it pulls in. Measured.
RUNTIME = 500_000_000

#: Bytes of a piece of a tokenizer as it is loaded, and pieces that RUNTIME has room for. Measured: one of
#: 250,000 unigrams takes 642 MB at most and 570 MB after, one of as many merges 375 MB and 267 MB.
_PIECE = 2600
_PIECES = 100_000

#: Different tokens of the text of a language, about.
_TOKENS_READ = 20_000

#: Outputs of the head that are held at a time, a few copies of them; as in babelscope.analysis.generation.
_LOGITS = 4 * 2**28


def weight_bytes(config: Mapping[str, Any], dtype: str) -> int:
    """Weights of a model in memory, or in a file."""
    return n_parameters(config) * WIDTH[dtype]


def largest_tensor(config: Mapping[str, Any]) -> int:
    """The word embeddings in float32, of which an audit holds one at a time and its finite part."""
    sizes = dimensions(config)
    return 2 * 4 * sizes.vocab * sizes.embedding


def tokenizer_memory(config: Mapping[str, Any]) -> int:
    """What a large tokenizer takes beyond what :data:`RUNTIME` has room for."""
    return max(0, dimensions(config).vocab - _PIECES) * _PIECE


def encoder_parameters(config: Mapping[str, Any], sites: Sequence[str]) -> int:
    """Parameters of the encoders of the dictionaries among some sites: what a token is multiplied with."""
    return sum(_encoders(config, sites))


def dictionary_bytes(config: Mapping[str, Any], sites: Sequence[str], *, decoders: bool = False) -> int:
    """Dictionaries in memory, in float32: their encoders; where latents are held or moved, also decoders."""
    return (2 if decoders else 1) * 4 * encoder_parameters(config, sites)


def largest_dictionary(config: Mapping[str, Any], sites: Sequence[str]) -> int:
    """The largest of these encoders, in float32."""
    return 4 * max(_encoders(config, sites), default=0)


def _encoders(config: Mapping[str, Any], sites: Sequence[str]) -> list[int]:
    of = [of for name, of in config.get(DICTIONARIES, {}).items() if name in sites]
    return [n * each["reads"][layer] for each in of for layer, n in each["latents"].items()]


def widest_site(config: Mapping[str, Any], sites: Sequence[str]) -> int:
    """Units of the MLPs of a layer, or of the largest dictionary if that has more."""
    return max(dimensions(config).acts, *_latents(config, sites), 1)


def _latents(config: Mapping[str, Any], sites: Sequence[str]) -> list[int]:
    """Latents of each dictionary and layer, of those among some sites."""
    found = (of["latents"] for name, of in config.get(DICTIONARIES, {}).items() if name in sites)
    return [n for latents in found for n in latents.values()]


def activation_bytes(config: Mapping[str, Any], settings: ExtractionSettings) -> int:
    """What one block holds of a batch at the same time, at most.

    The input and the output of the block, its norm, queries, keys and values; and, larger, the MLP:
    before and after its non-linearity, of gated ones also the gate and the product. Of experts those that a
    token is sent to, and the neurons of all side by side, as they are seen and as they are changed. Of
    latents those of one dictionary, in float32: before and after, and as they are changed.
    """
    sizes = dimensions(config)
    attention = sizes.query_key_value + 2 * sizes.query
    mlp = (4 if sizes.gated else 3) * sizes.mlp * sizes.chosen + (2 * sizes.acts if sizes.experts > 1 else 0)
    width = 4 * sizes.hidden + max(attention, mlp)
    positions = settings.batch_size * settings.max_length
    held = max(_latents(config, settings.sites), default=0)
    return positions * (width * WIDTH[settings.compute_dtype] + 3 * 4 * held)


def resident_weights(config: Mapping[str, Any], dtype: str, *, mapped: bool) -> int:
    """Weights that extraction holds in memory.

    Args:
        config: As :func:`babelscope.models.dimensions.dimensions` takes it.
        dtype: Type that is computed in.
        mapped: Whether they are stored in this type. Then they stay in the file until they are read, and
            of the embedding only the rows of the text's tokens are, of the head nothing.
    """
    weights = weight_bytes(config, dtype)
    if not mapped:
        return weights
    sizes = dimensions(config)
    row = sizes.embedding * WIDTH[dtype]
    tables = sizes.vocab * (1 if sizes.tied else 2) * row
    return weights - tables + min(sizes.vocab, _TOKENS_READ) * row


def extraction_memory(
    config: Mapping[str, Any], settings: ExtractionSettings, *, n_sentences: int, mapped: bool = False
) -> int:
    """Host memory of an extraction job on a CPU, in bytes; on a GPU the weights are there instead.

    Args:
        config: As :func:`babelscope.models.dimensions.dimensions` takes it.
        settings: How it is run.
        n_sentences: Sentences of the language.
        mapped: As for :func:`resident_weights`.
    """
    sizes = dimensions(config)
    n_units = sum(site_widths(config, settings.sites).values()) * max(map(len, settings.passes))
    window = 4 * min(n_sentences, settings.window_rows(n_units)) * n_units
    # Pooled values of a batch: on the device, and copied to the host.
    pooled = 2 * 4 * min(settings.batch_size, n_sentences) * n_units
    tokens = min(settings.tokens_per_language, n_sentences * settings.max_length)
    kept = tokens + min(settings.mean_sentences, n_sentences)
    states = 4 * kept * (sizes.n_layers + 1) * sizes.hidden
    return (
        RUNTIME
        + resident_weights(config, settings.compute_dtype, mapped=mapped)
        + dictionary_bytes(config, settings.sites)
        + activation_bytes(config, settings)
        + window
        + pooled
        + states
    )


def tracing_memory(config: Mapping[str, Any], settings: ExtractionSettings) -> int:
    """Host memory of a job that runs a model over sentences and keeps a few of its units.

    Beside the weights what one block holds, and pooled values of a batch: on the device, on the host twice.
    """
    n_units = sum(site_widths(config, settings.sites).values())
    return (
        RUNTIME
        + weight_bytes(config, settings.compute_dtype)
        + dictionary_bytes(config, settings.sites)
        + activation_bytes(config, settings)
        + 3 * 4 * settings.batch_size * n_units
    )


def generation_memory(config: Mapping[str, Any], settings: ExtractionSettings) -> int:
    """Host memory of a job that generates: the head's outputs and what it has written, beside the weights."""
    return (
        RUNTIME
        + weight_bytes(config, settings.compute_dtype)
        + dictionary_bytes(config, settings.sites, decoders=True)
        + _LOGITS
        + activation_bytes(config, settings)
    )


def loss_memory(config: Mapping[str, Any], settings: ExtractionSettings) -> int:
    """Host memory of a job that measures losses: the head's outputs for a batch beside the weights."""
    outputs = 4 * 4 * settings.batch_size * settings.max_length * dimensions(config).vocab
    return generation_memory(config, settings) - _LOGITS + min(_LOGITS, outputs)


def training_memory(config: Mapping[str, Any], *, positions: int) -> int:
    """Memory of a pre-training job, in bytes, on the device that it runs on.

    Weights, gradients, two moments and what is being written, in float32; of a part of a batch the outputs
    of the head, their softmax and its gradient, and what every block keeps for the way back.

    Args:
        config: As :func:`babelscope.models.dimensions.dimensions` takes it, with ``vocab_size``.
        positions: Tokens of a part of a batch: windows over ``accumulation``, times their length.
    """
    sizes = dimensions(config)
    block = 6 * sizes.hidden + sizes.query_key_value + (4 if sizes.gated else 3) * sizes.mlp * sizes.chosen
    activations = 4 * positions * (3 * sizes.vocab + sizes.n_layers * block)
    return RUNTIME + 5 * weight_bytes(config, "float32") + activations
