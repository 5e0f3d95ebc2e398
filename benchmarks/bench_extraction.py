"""Extraction, with scoring in its stream and alone, against the bare forward pass over the same batches.

    python benchmarks/bench_extraction.py

All five sites and the residual stream, random weights, float32 on the CPU, one thread as in a job. The bare
pass runs the blocks on batches that are already made, and keeps nothing. Ours tokenises, tests the model's
parity, runs it under hooks, pools, samples tokens, checks, and either scores every unit for every concept or
writes the pooled units to the HDF5 cache; token states are written in both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rows import Ratio, Row, alternate, run_alone
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, XGLMConfig

from babelscope.analysis.scores import ScoreFile, ScoreSettings, score_blocks, score_units
from babelscope.capture.extraction import extract_language
from babelscope.capture.inputs import InputBatch, encode_sentences, forward, make_batches
from babelscope.capture.settings import ExtractionSettings
from babelscope.capture.store import UnitFile, write_units
from babelscope.io.h5 import atomic_h5
from babelscope.models.checkpoints import LoadedModel, load_checkpoint
from babelscope.runtime import job

SITES = ("attn_qkv", "attn_out", "mlp_in", "mlp_act", "mlp_out")
WITH_SCORING, ALONE = 1.5, 1.10
SETTINGS = ExtractionSettings(sites=SITES, batch_size=64, max_length=64, parity_sentences=8)
CELL = "0/en"
Sentences = list[tuple[str, str]]


@dataclass(frozen=True)
class Case:
    blocks: int
    d: int
    sentences: int
    own: int
    """Concepts with sentences of their own."""
    shared: int
    """Concepts that share all sentences."""
    repeats: int

    def __str__(self) -> str:
        return f"{self.blocks} blocks of d {self.d}"


CASES = (Case(12, 768, 512, 2, 100, 3), Case(8, 512, 1024, 4, 100, 3))
SMALL = (Case(2, 16, 48, 2, 3, 1),)


def make_checkpoint(folder: Path, *, blocks: int, d: int) -> None:
    """Random weights and a tokenizer of words."""
    vocabulary = {name: i for i, name in enumerate(["<s>", "</s>", "<pad>", "<unk>"])}
    vocabulary |= {f"w{i}": 4 + i for i in range(5000)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    heads = max(2, d // 64)
    config = XGLMConfig(
        vocab_size=len(vocabulary), d_model=d, num_layers=blocks, attention_heads=heads, ffn_dim=4 * d
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def make_sentences(n: int) -> Sentences:
    """Of 15 to 44 words, 30 in the mean; a word is a token."""
    rng = np.random.default_rng(0)
    return [
        (f"s-{i:05d}", " ".join(f"w{w}" for w in rng.integers(0, 5000, size=rng.integers(15, 45))))
        for i in range(n)
    ]


def own_sentences(names: Sequence[str], concepts: int) -> pd.DataFrame:
    """Labels of concepts that each have a share of the sentences, in their order, half of them positive."""
    each = len(names) // concepts
    number = np.arange(each * concepts)
    return pd.DataFrame(
        {
            "concept": [f"c{at:03d}" for at in number // each],
            "sentence_id": list(names[: len(number)]),
            "label": (number % each < each // 2).astype(np.int64),
        }
    )


def shared_sentences(names: Sequence[str], concepts: int) -> pd.DataFrame:
    """Labels of concepts that all look at all sentences: an eighth of them positive, other ones for each."""
    rng = np.random.default_rng(1)
    label_CN = np.array([rng.permutation(len(names)) < len(names) // 8 for _ in range(concepts)])
    return pd.DataFrame(
        {
            "concept": np.repeat([f"c{at:03d}" for at in range(concepts)], len(names)),
            "sentence_id": list(names) * concepts,
            "label": label_CN.ravel().astype(np.int64),
        }
    )


@torch.inference_mode()
def bare_forward(loaded: LoadedModel, batches: Sequence[InputBatch]) -> None:
    """Run the blocks and keep nothing."""
    for batch in batches:
        forward(loaded, batch)


def extract(
    loaded: LoadedModel, sentences: Sentences, folder: Path, concepts: pd.DataFrame | None = None
) -> Path:
    """What a job of ``extract_activations`` does: writes the scores, or without concepts the pooled units."""
    kind = "units" if concepts is None else "scores"
    path = folder / f"{kind}.h5"
    with atomic_h5(path, kind=kind) as file, atomic_h5(folder / "tokens.h5", kind="tokens") as tokens:
        group = file.create_group(CELL)
        extract_language(
            loaded,
            sentences,
            units=partial(write_units, group)
            if concepts is None
            else partial(score_blocks, group, concepts, ScoreSettings()),
            tokens=tokens.create_group(CELL),
            model="m",
            step=0,
            lang="en",
            settings=SETTINGS,
            seed=0,
        )
    return path


def check_same(folder: Path, loaded: LoadedModel, sentences: Sentences, labels: Mapping[str, Any]) -> None:
    """The scores of both ways, from the stream and from the cache, are the same bytes.

    Raises:
        SystemExit: If they are not.
    """
    units = UnitFile(extract(loaded, sentences, folder), CELL)
    for name, concepts in labels.items():
        with atomic_h5(folder / "cached.h5", kind="scores") as file:
            score_units(units, concepts, file.create_group(CELL))
        one, other = (
            ScoreFile(path, CELL)
            for path in (extract(loaded, sentences, folder, concepts), folder / "cached.h5")
        )
        for layer, site, _ in one.units.sites:
            for what in ("ap_all", "ap_a", "ap_b", "median"):
                here, there = (file.read(layer, site, what) for file in (one, other))
                if here.tobytes() != there.tobytes():
                    raise SystemExit(f"{name}: {what} of layer {layer}, site {site} depends on the way")


def measure_case(case: Case) -> list[Row]:
    sentences = make_sentences(case.sentences)
    names = [name for name, _ in sentences]
    labels = {
        "own": own_sentences(names, case.own),
        "shared": shared_sentences(names, case.shared),
    }
    with tempfile.TemporaryDirectory() as name, job(Path(name, "log.txt"), threads=1):
        folder = Path(name)
        make_checkpoint(folder / "model", blocks=case.blocks, d=case.d)
        loaded = load_checkpoint(folder / "model", device="cpu")
        encoded = encode_sentences(loaded, sentences, max_length=SETTINGS.max_length, where="benchmark")
        batches = list(make_batches(loaded, encoded.rows, batch_size=SETTINGS.batch_size))
        check_same(folder, loaded, sentences[:48], {
            "own": own_sentences(names[:48], 2), "shared": shared_sentences(names[:48], 3)
        })  # fmt: skip
        bare_forward(loaded, batches[:2])
        sides = alternate(
            {
                "bare": lambda: bare_forward(loaded, batches),
                "alone": lambda: extract(loaded, sentences, folder),
                "own": lambda: extract(loaded, sentences, folder, labels["own"]),
                "shared": lambda: extract(loaded, sentences, folder, labels["shared"]),
            },
            repeats=case.repeats,
            warm=False,
        )
        n_units = UnitFile(folder / "units.h5", CELL).n_units
        sizes = {path.stem: path.stat().st_size / 1e6 for path in folder.glob("*.h5")}
    tokens = sum(map(len, encoded.rows))
    size = f"{case}, five sites, {case.sentences:,} sentences of {tokens / case.sentences:.0f} tokens"
    what = {
        "alone": ("extraction into the HDF5 cache", ALONE),
        "own": (f"extraction with scoring, {case.own} concepts with their own sentences", WITH_SCORING),
        "shared": (f"extraction with scoring, {case.shared} concepts that share them", WITH_SCORING),
    }
    found = []
    for side, (stage, bound) in what.items():
        ratio = Ratio.of(sides[side], sides["bare"])
        reached, ok = ratio.at_most(bound)
        written = sizes["tokens"] + sizes["units" if side == "alone" else "scores"]
        found.append(
            Row(
                f"{stage}; {size}",
                "the bare forward pass, same batches",
                f"times as long: {ratio}",
                reached,
                f"at most {bound:.2f}" if side == "alone" else f"at most {bound}",
                ok,
                f"{stage[0].upper()}{stage[1:]} of {n_units:,} units, {case}: {sides[side]} against "
                f"{sides['bare']}; {written:,.0f} MB written.",
            )
        )
    return found


def measure(small: bool = False) -> list[Row]:
    return [row for case in (SMALL if small else CASES) for row in measure_case(case)]


if __name__ == "__main__":
    run_alone(measure, __doc__)
