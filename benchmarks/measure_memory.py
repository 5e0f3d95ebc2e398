"""Memory of one extraction job at true size, against the estimate that sets its ``mem_mb``.

``python benchmarks/measure_memory.py`` measures all of :data:`CASES` and writes docs/memory.md;
``--only NAME`` one of them. Checkpoints have the real shapes and random weights. They are written shard
by shard, loaded and run over sentences by a process of its own, as ``extract_activations`` does it, and
removed.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from babelscope.capture.settings import ExtractionSettings
from babelscope.ops.sizes import extraction_memory
from babelscope.study.suites import load_suite

ROOT = Path(__file__).resolve().parents[1]
LINEAR = ("attn_qkv", "attn_out", "mlp_in", "mlp_out")
SHARD_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Case:
    """A model, and how it is run."""

    name: str
    config: dict[str, Any]
    stored: str
    compute: str
    sentences: int = 256
    batch_size: int = 32
    max_length: int = 96
    sites: tuple[str, ...] = LINEAR
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def settings(self) -> ExtractionSettings:
        return ExtractionSettings(
            sites=self.sites,
            compute_dtype=self.compute,
            batch_size=self.batch_size,
            max_length=self.max_length,
            tokens_per_language=2000,
            mean_sentences=1000,
            device="cpu",
        )


def suite_config(name: str) -> dict[str, Any]:
    suite = load_suite(name)
    return {"model_type": suite.architecture, **suite.architecture_config}


XGLM = {"model_type": "xglm", "d_model": 512}
CASES = [
    Case("bloom-560m", suite_config("bloom-560m"), "float16", "float32"),
    Case("bloom-560m", suite_config("bloom-560m"), "float16", "bfloat16"),
    Case("xglm-257m", XGLM, "float32", "float32", batch_size=64, max_length=128),
    Case("pythia-160m", suite_config("pythia-160m"), "float16", "float32"),
    Case("pythia-410m", suite_config("pythia-410m"), "float16", "float32", sentences=1024),
    Case("olmo-2-1b", suite_config("olmo-2-1b"), "bfloat16", "bfloat16", sites=("mlp_act",)),
    Case(
        "bloom-7b1",
        suite_config("bloom-7b1"),
        "float16",
        "bfloat16",
        sentences=16,
        batch_size=16,
        max_length=32,
    ),
]


def write_checkpoint(case: Case, folder: Path) -> None:
    """Random weights of the real shapes, never more of them in memory than one shard."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    given = {key: value for key, value in case.config.items() if key != "model_type"}
    config = AutoConfig.for_model(case.config["model_type"], **given)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    parameters = dict(model.named_parameters())  # tied ones once
    dtype = getattr(torch, case.stored)
    config.dtype = case.stored
    config.save_pretrained(folder)
    generator = torch.Generator().manual_seed(0)
    shards: list[list[str]] = [[]]
    size = 0
    for name, values in parameters.items():
        size += values.numel() * dtype.itemsize
        if size > SHARD_BYTES and shards[-1]:
            shards.append([])
            size = values.numel() * dtype.itemsize
        shards[-1].append(name)
    weight_map = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        tensors = {}
        for name in names:
            shape = parameters[name].shape
            noise = torch.empty(shape, dtype=dtype).normal_(generator=generator)
            tensors[name] = noise.mul_(0.02) if len(shape) > 1 else torch.ones(shape, dtype=dtype)
            weight_map[name] = file
        save_file(tensors, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(1000)} | {"<s>": 1000}, unk_token="<s>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="<s>").save_pretrained(folder)


def run(case: Case, folder: Path, out: Path) -> None:
    """In a process of its own: what the job does, and how much memory it took."""
    import numpy as np

    from babelscope.capture.extraction import extract_language
    from babelscope.io.h5 import atomic_h5
    from babelscope.models.checkpoints import load_checkpoint
    from babelscope.runtime import job

    with job(out / "log.txt", threads=2):
        generator = np.random.default_rng(0)
        lengths = generator.integers(case.max_length // 4, case.max_length, case.sentences)
        pairs = [
            (f"s-{row}", " ".join(f"w{word}" for word in generator.integers(0, 1000, length - 1)))
            for row, length in enumerate(lengths)
        ]
        start = time.monotonic()
        settings = case.settings()
        loaded = load_checkpoint(folder, dtype=settings.compute_dtype, device="cpu")
        after_loading = peak()
        loading = time.monotonic() - start
        with (
            atomic_h5(out / "units.h5", kind="units") as units,
            atomic_h5(out / "tokens.h5", kind="tokens") as tokens,
        ):
            extract_language(
                loaded, pairs, units=units.create_group("1/en"), tokens=tokens.create_group("1/en"),
                model="m", step=1, lang="en", settings=settings, seed=1,
            )  # fmt: skip
    found = {
        "loaded": after_loading, "peak": peak(), "loading_s": loading, "seconds": time.monotonic() - start,
    }  # fmt: skip
    (out / "found.json").write_text(json.dumps(found))


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(case: Case, scratch: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        write_checkpoint(case, folder / "model") if (folder / "model").mkdir() is None else None
        command = [sys.executable, __file__, "--child", case.name, case.compute, str(folder)]
        subprocess.run(command, check=True)
        found = json.loads((folder / "found.json").read_text())
        shutil.rmtree(folder / "model")
    mapped = case.stored == case.compute
    estimate = extraction_memory(case.config, case.settings(), n_sentences=case.sentences, mapped=mapped)
    return {**found, "estimate": estimate, "ratio": estimate / found["peak"]}


def line(case: Case, found: dict[str, float]) -> str:
    run_over = f"{case.sentences} x {case.max_length}, batch {case.batch_size}, {len(case.sites)} sites"
    sizes = " | ".join(f"{found[name] / 1e9:.2f}" for name in ("loaded", "peak", "estimate"))
    types = f"{case.stored} -> {case.compute}"
    return f"| {case.name} | {types} | {run_over} | {sizes} | {found['ratio']:.2f} | {found['seconds']:.0f} |"


PAGE = """# Memory of a job at true size

Written by `python benchmarks/measure_memory.py`: random weights of the real shapes, one extraction job in
a process of its own, the largest resident memory against the estimate of
`babelscope.ops.sizes.extraction_memory`, which sets the job's `mem_mb`. Machine: {machine}, no GPU. GB are
10^9 bytes.

| model | stored -> computed in | sentences x longest | after loading | largest | estimate | ratio | seconds |
| --- | --- | --- | --- | --- | --- | --- | --- |
{lines}

The farthest is off by {worst:.0%}.
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", help="name of a model")
    parser.add_argument("--scratch", type=Path, default=ROOT / "results", help="folder with room for 15 GB")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, compute, folder = args.child
        (case,) = [case for case in CASES if (case.name, case.compute) == (name, compute)]
        run(case, Path(folder) / "model", Path(folder))
        return
    args.scratch.mkdir(parents=True, exist_ok=True)
    lines, ratios = [], []
    for case in CASES:
        if args.only in (None, case.name):
            found = measure(case, args.scratch)
            lines.append(line(case, found))
            ratios.append(found["ratio"])
            print(lines[-1], flush=True)
    if args.only is None:
        worst = max(ratios, key=lambda ratio: abs(math.log(ratio))) - 1
        machine = f"{platform.machine()}, Python {platform.python_version()}"
        text = PAGE.format(machine=machine, lines="\n".join(lines), worst=worst)
        (ROOT / "docs/memory.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
