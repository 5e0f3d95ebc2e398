"""Extraction with everything stored, against the bare forward pass over the same batches."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, XGLMConfig

from babelscope.activations.extraction import extract_language
from babelscope.activations.inputs import InputBatch, encode_sentences, forward, make_batches
from babelscope.activations.settings import ExtractionSettings
from babelscope.io.h5 import atomic_h5
from babelscope.models.checkpoints import LoadedModel, load_checkpoint

N_SENTENCES = 1024
REPEATS = 3
SITES = ("attn_qkv", "attn_out", "mlp_in", "mlp_act", "mlp_out")


def make_checkpoint(folder: Path) -> None:
    """Random weights and a tokenizer of words."""
    vocabulary = {name: i for i, name in enumerate(["<s>", "</s>", "<pad>", "<unk>"])}
    vocabulary |= {f"w{i}": 4 + i for i in range(5000)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = XGLMConfig(
        vocab_size=len(vocabulary), d_model=512, num_layers=8, attention_heads=8, ffn_dim=2048
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


@torch.inference_mode()
def bare_forward(loaded: LoadedModel, batches: list[InputBatch]) -> None:
    """Run the blocks and keep nothing."""
    for batch in batches:
        forward(loaded, batch)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    out = parser.parse_args().json
    torch.set_num_threads(1)  # what an extraction job gets: several run side by side
    rng = np.random.default_rng(0)
    sentences = [
        (f"s-{i:04d}", " ".join(f"w{w}" for w in rng.integers(0, 5000, size=rng.integers(8, 40))))
        for i in range(N_SENTENCES)
    ]
    settings = ExtractionSettings(sites=SITES, batch_size=64, max_length=64, parity_sentences=8)
    bare, whole = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_checkpoint(folder)
        loaded = load_checkpoint(folder, device="cpu")
        encoded = encode_sentences(loaded, sentences, max_length=64, where="benchmark")
        batches = list(make_batches(loaded, encoded.rows, batch_size=settings.batch_size))
        bare_forward(loaded, batches[:2])
        for _ in range(REPEATS):
            start = time.perf_counter()
            bare_forward(loaded, batches)
            bare.append(time.perf_counter() - start)
            start = time.perf_counter()
            with (
                atomic_h5(folder / "u.h5", kind="units") as units,
                atomic_h5(folder / "t.h5", kind="tokens") as tokens,
            ):
                extract_language(
                    loaded, sentences, units=units.create_group("0/en"),
                    tokens=tokens.create_group("0/en"), model="m", step=0, lang="en",
                    settings=settings, seed=0,
                )  # fmt: skip
            whole.append(time.perf_counter() - start)
        size = ((folder / "u.h5").stat().st_size + (folder / "t.h5").stat().st_size) / 1e6
    found = {
        "what": "extraction: all five sites and the residual stream pooled, sampled, checked, written",
        "against": f"the bare forward pass over the same {len(batches)} batches",
        "ratio": statistics.median(whole) / statistics.median(bare),
        "details": (
            f"Extraction: XGLM of 8 layers, d_model 512, {N_SENTENCES} sentences, float32, "
            "one thread as in a job: "
            f"{statistics.median(whole):.2f} s ({min(whole):.2f} to {max(whole):.2f}) against "
            f"{statistics.median(bare):.2f} s ({min(bare):.2f} to {max(bare):.2f}); {size:.0f} MB written, "
            "parity self-test of 8 sentences included."
        ),
    }
    print(found)
    if out:
        out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
