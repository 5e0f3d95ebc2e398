"""Models of true shapes with random weights, a tokenizer of words, and sentences: nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from adapters import LoadedModel, Sentences
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def tokenizer(n_words: int) -> Any:
    """Words ``w0``, ``w1``, ... as tokens, after the special ones."""
    names = [*SPECIAL.values(), *(f"w{number}" for number in range(n_words - len(SPECIAL)))]
    words = Tokenizer(models.WordLevel({name: at for at, name in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, **SPECIAL)


def sentences(n: int, *, n_words: int, mean: int, longest: int, seed: int = 0) -> Sentences:
    """Id and text of sentences whose lengths spread as those of news do.

    Args:
        n: How many.
        n_words: Words to draw from.
        mean: Words of a sentence, about.
        longest: Words of the longest.
        seed: Of everything random.
    """
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(mean) - 0.08, 0.4, n).round(), 3, longest).astype(int)
    drawn = [rng.integers(0, n_words - len(SPECIAL), length) for length in lengths]
    return [(f"s-{row:05d}", " ".join(f"w{word}" for word in words)) for row, words in enumerate(drawn)]


def model(config: dict[str, Any], *, device: str, dtype: torch.dtype, seed: int = 0) -> Any:
    """A language model with its head in eval mode; its weights are drawn where they will stay."""
    given = {key: value for key, value in config.items() if key != "model_type"}
    known = AutoConfig.for_model(
        config["model_type"], **given, bos_token_id=0, eos_token_id=1, pad_token_id=2
    )
    torch.manual_seed(seed)
    with torch.device(device):
        built = AutoModelForCausalLM.from_config(known, dtype=dtype)
    return built.eval()


def loaded(built: Any, words: Any) -> LoadedModel:
    """A model in memory, as if it came from a folder."""
    return LoadedModel(
        model=built, tokenizer=words, start_id=0, pad_id=2, folder=Path("made-up"),
        weights_hash="0" * 64, tokenizer_hash="0" * 64,
    )  # fmt: skip


def concepts(sentences: Sequence[tuple[str, str]], n: int) -> pd.DataFrame:
    """Concepts with neighbouring sentences of their own: in either half, every other one is positive."""
    ids = np.array([sentence_id for sentence_id, _ in sentences])
    parts = [
        pd.DataFrame({"concept": f"c{number}", "sentence_id": own, "label": np.arange(len(own)) // 2 % 2})
        for number, own in enumerate(np.array_split(ids, n))
    ]
    return pd.concat(parts, ignore_index=True)


def labels(n: int, n_concepts: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Random labels, about half of them positive; shape ``(N, C)``."""
    return np.random.default_rng(seed).integers(0, 2, (n, n_concepts)).astype(np.int8)


def corpus(folder: Path, *, languages: int, documents: int, words: int, n_words: int) -> dict[str, Path]:
    """Documents to pre-train on, an eighth held out: each word follows from the one before, mostly."""
    found = {}
    for number in range(languages):
        rng = np.random.default_rng(number)
        after = rng.permutation(n_words - len(SPECIAL))
        found[f"l{number}"] = folder / f"l{number}.jsonl"
        with found[f"l{number}"].open("w", encoding="utf-8") as file:
            for document in range(documents):
                free = rng.zipf(1.3, words) % len(after)
                word, text = int(free[0]), []
                for other, jumps in zip(free.tolist(), (rng.random(words) < 0.2).tolist(), strict=True):
                    word = other if jumps else int(after[word])
                    text.append(f"w{word}")
                split = "train" if document % 8 else "heldout"
                file.write(json.dumps({"text": " ".join(text), "split": split}) + "\n")
    return found
