"""How fast, and in how much memory, at true size: BLOOM-560m, BLOOM-7b1 and the XGLM of 257M parameters."""

from __future__ import annotations

import math
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import adapters
import made_up
import numpy as np
import torch
from adapters import ExtractionSettings, GenerationSettings, LoadedModel, TextRequest, dimensions, sizes
from cards import median_of, seconds_of, synchronize
from checks import _forced, make_windows, torch_average_precision
from harness import Options, Report, Skipped, host_peak

LINEAR = ("attn_qkv", "attn_out", "mlp_in", "mlp_out")
WORDS = 5000
#: Sentences of one concept in the paper's study; they are scored together.
CONCEPT = 400


def _shape(name: str, options: Options) -> dict[str, Any]:
    """A suite's config; on a CPU the same family, small, with more rows of embeddings than the tokenizer."""
    if not options.small:
        return adapters.suite_shape(name)
    layers, hidden = (2, 64) if name == "bloom-560m" else (3, 128)
    small = {"n_layer": layers, "hidden_size": hidden, "n_head": 4, "vocab_size": WORDS + 100}
    return {"model_type": "bloom", **small}


def _study(options: Options, n_concepts: int, tokens: int) -> adapters.PaperStudy:
    """The paper's study, with this many concepts, for what it says of settings and costs."""
    return adapters.PaperStudy(
        options.scratch / f"planned-{n_concepts}", n_concepts=max(2, n_concepts), n_sentences=CONCEPT,
        n_tokens=tokens, threads=options.threads,
    )  # fmt: skip


def _settings(name: str, options: Options) -> ExtractionSettings:
    """As in the paper's study; on a CPU small."""
    if options.small:
        return ExtractionSettings(sites=LINEAR, batch_size=16, max_length=32, tokens_per_language=2000)
    return _study(options, 2, 36).settings(name)


def _sentences(n_concepts: int, options: Options) -> adapters.Sentences:
    mean, longest = (8, 30) if options.small else (35, 126)
    return made_up.sentences(n_concepts * _per_concept(options), n_words=WORDS, mean=mean, longest=longest)


def _per_concept(options: Options) -> int:
    return 16 if options.small else CONCEPT


def _cores(options: Options) -> str:
    return f"{options.threads} core{'s' if options.threads > 1 else ''}"


def _body(config: dict[str, Any]) -> int:
    """Parameters that every token meets; of the tables of words it meets one row."""
    shape = dimensions(config)
    return adapters.n_parameters(config) - shape.vocab * shape.embedding * (1 if shape.tied else 2)


def forward_flops(config: dict[str, Any], lengths: Sequence[int]) -> float:
    """Operations of the blocks on inputs of these lengths: the matrices, and attention over all pairs."""
    shape, n = dimensions(config), np.asarray(lengths, dtype=np.float64)
    return float(2 * _body(config) * n.sum() + 4 * shape.n_layers * shape.query * (n**2).sum())


def write_560m(report: Report, options: Options) -> None:
    """A checkpoint of BLOOM-560m's shape on the disk, in float16 as the suite stores it."""
    config = _shape("bloom-560m", options)
    dtype = torch.float16 if options.device == "cuda" else torch.float32
    built = made_up.model(config, device=options.device, dtype=dtype)
    adapters.save_model(built, made_up.tokenizer(WORDS), options.scratch / "bloom-560m")
    report.detail("parameters", sum(weights.numel() for weights in built.parameters()))


def measure_560m(report: Report, options: Options) -> None:
    """BLOOM-560m as a job has it: loaded from the disk, in a process of its own."""
    folder = options.scratch / "bloom-560m"
    if not (folder / "config.json").exists():
        raise Skipped("its checkpoint was not written")
    settings = _settings("bloom-560m", options)
    started = time.perf_counter()
    loaded = adapters.load_checkpoint(folder, dtype=settings.compute_dtype, device=options.device)
    synchronize(options.device)
    loading = time.perf_counter() - started
    report.figure("loading", loading, "s", "from the disk; with the start of the device")
    n_concepts = 4
    took, tokens = _extraction(report, options, loaded, settings, n_concepts)
    report.figure("host memory, measured", host_peak() / 1e9, "GB", "largest; loading and extraction")
    with report.attempt("planning"):
        n_sentences = n_concepts * _per_concept(options)
        _planned(report, options, "bloom-560m", n_concepts, round(tokens / n_sentences))
    report.figure("the same, measured", loading + took, "s", "without the start of Python, about 6 s")
    with report.attempt("scoring"):
        _scoring(report, options, options.scratch / "extracted")
    with report.attempt("generation"):
        _generation(report, options, loaded, settings)


def measure_7b1(report: Report, options: Options) -> None:
    """BLOOM-7b1, its weights drawn on the device."""
    config, settings = _shape("bloom-7b1", options), _settings("bloom-7b1", options)
    weights = sizes.weight_bytes(config, settings.compute_dtype)
    if weights * 1.4 > options.card["memory"]:
        raise Skipped(f"its weights take {weights / 1e9:.0f} GB, too much for this device")
    built = made_up.model(config, device=options.device, dtype=getattr(torch, settings.compute_dtype))
    loaded = made_up.loaded(built, made_up.tokenizer(WORDS))
    with report.attempt("extraction"):
        n_concepts = 2
        _, tokens = _extraction(report, options, loaded, settings, n_concepts)
        report.figure("host memory, measured", host_peak() / 1e9, "GB", "largest; no checkpoint was read")
        n_sentences = n_concepts * _per_concept(options)
        _planned(report, options, "bloom-7b1", n_concepts, round(tokens / n_sentences))
    with report.attempt("generation"):
        _generation(report, options, loaded, settings)


def _planned(report: Report, options: Options, name: str, n_concepts: int, tokens: int) -> None:
    """What ``babelscope plan`` says of a job over these sentences."""
    seconds, memory = _study(options, n_concepts, max(4, tokens)).extraction(name)
    of = "of the true shape, on a GPU; " if options.small else ""
    report.figure("host memory by the plan", memory / 1e9, "GB", f"{of}with 0.25 GB for Snakemake")
    report.figure("a job by the plan", seconds, "s", f"{of}start, loading, extraction, scoring")


def _extraction(
    report: Report, options: Options, loaded: LoadedModel, settings: ExtractionSettings, n_concepts: int
) -> tuple[float, int]:
    """Seconds of an extraction with scoring in its stream, and the tokens that it read."""
    device, config = options.device, {**loaded.config}
    _report_shape(report, config)
    sentences = _sentences(n_concepts, options)
    concepts = made_up.concepts(sentences, n_concepts)
    batches = adapters.batches_of(loaded, sentences, settings)
    lengths = [int(length) for batch in batches for length in batch.lengths]
    flops = forward_flops(config, lengths)
    n_units = sum(adapters.site_widths(config, settings.sites).values())
    what = f"{len(sentences):,} sentences, {sum(lengths):,} tokens, batches of {settings.batch_size}"
    bare = median_of(lambda: adapters.bare_forward(loaded, batches), device, warm=2)
    report.figure("bare forward pass", bare, "s", f"{what}, {settings.compute_dtype}")
    _share_of_peak(report, options, "bare forward pass", flops / bare)
    report.figure("tokens a second, bare", sum(lengths) / bare, "tokens/s")
    with report.attempt("a bare forward pass in larger batches"):
        wide = settings.model_copy(update={"batch_size": 4 * settings.batch_size})
        wider = adapters.batches_of(loaded, sentences, wide)
        took = median_of(lambda: adapters.bare_forward(loaded, wider), device)
        report.figure("bare forward pass, batches four times as large", took, "s")
    pooled = median_of(lambda: adapters.hooked_forward(loaded, batches, settings, read=False), device)
    report.figure("with pooling", pooled / bare, "x bare", "hooks at four sites and the residual stream")
    read = median_of(lambda: adapters.hooked_forward(loaded, batches, settings, read=True), device)
    report.figure("with pooling, copied to the host", read / bare, "x bare")
    _busy(report, options, loaded, batches[: max(1, len(batches) // 4)], settings)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    out = options.scratch / "extracted"

    def scored() -> Path:
        return adapters.extract_scored(
            loaded, sentences, concepts, settings, out,
            threads=options.threads, background=device == "cuda",
        )  # fmt: skip

    whole = 0.0
    for name, work, file, note in (
        ("extraction with scoring in its stream", scored, "scores.h5",
         f"{n_concepts} concepts of {_per_concept(options)} sentences, {_cores(options)}"),
        ("extraction into the store", lambda: adapters.extract(loaded, sentences, settings, out),
         "units.h5", "without scoring"),
    ):  # fmt: skip
        with report.attempt(name):
            took = min(seconds_of(work, device, repeats=2, warm=0))
            whole = whole or took
            report.figure(name, took, "s", f"{note}; all on the disk, best of two")
            report.figure(f"{name}, over the bare pass", took / bare, "x bare")
            _share_of_peak(report, options, name, flops / took)
            written = ((out / file).stat().st_size + (out / "tokens.h5").stat().st_size) / 1e9
            report.figure(f"{name}, written", written, "GB", f"{n_units:,} units")
    if device == "cuda":
        estimate = sizes.weight_bytes(config, settings.compute_dtype)
        estimate += sizes.activation_bytes(config, settings) + 4 * settings.batch_size * n_units
        report.figure("device memory, measured", torch.cuda.max_memory_allocated() / 1e9, "GB", "extraction")
        report.figure("device memory by the shapes", estimate / 1e9, "GB", "babelscope.ops.sizes")
    return whole, sum(lengths)


def _report_shape(report: Report, config: dict[str, Any]) -> None:
    shape, n = dimensions(config), adapters.n_parameters(config)
    what = f"{shape.n_layers} blocks, width {shape.hidden:,}, {n / 1e6:,.1f} million parameters"
    report.figure("shape", what)


def _share_of_peak(report: Report, options: Options, name: str, rate: float) -> None:
    peak, matmul = options.card.get("peak"), options.card.get("matmul")
    if peak:
        report.figure(f"{name}, share of the datasheet's peak", 100 * rate / peak, "%")
    if matmul:
        report.figure(f"{name}, share of the matrix product's rate", 100 * rate / matmul, "%")


def _busy(
    report: Report,
    options: Options,
    loaded: LoadedModel,
    batches: Sequence[Any],
    settings: ExtractionSettings,
) -> None:
    """How much of the time the card works; by the profiler, whose own cost is in it."""
    if options.device != "cuda":
        return
    from torch.profiler import ProfilerActivity, profile

    for name, work in (
        ("bare", lambda: adapters.bare_forward(loaded, batches)),
        ("pooled and copied", lambda: adapters.hooked_forward(loaded, batches, settings, read=True)),
    ):
        try:
            with profile(activities=[ProfilerActivity.CUDA]) as seen:
                (took,) = seconds_of(work, "cuda", repeats=1, warm=0)
            rows = sorted(seen.key_averages(), key=lambda row: -row.self_device_time_total)
            busy = sum(row.self_device_time_total for row in rows) / 1e6
            report.figure(f"card at work, {name}", 100 * busy / took, "%", "by the profiler")
            kernels = [(row.key[:90], row.count, row.self_device_time_total / 1e6) for row in rows[:12]]
            report.detail(f"kernels, {name}", kernels)
        except Exception as error:  # the profiler needs more rights than some machines give
            report.detail(f"kernels, {name}", f"{type(error).__name__}: {error}"[:300])


def _scoring(report: Report, options: Options, out: Path) -> None:
    """A concept's sentences: scored by the cores, and by a sort on the device."""
    n = _per_concept(options)
    values_NU = adapters.unit_block(out, n)
    if not options.compiled:
        values_NU = np.ascontiguousarray(values_NU[:, ::40])
    labels_NC = made_up.labels(len(values_NU), 1)
    what = f"{n} sentences x {values_NU.shape[1]:,} units, one concept"
    adapters.score(values_NU[:, :8], labels_NC, threads=1)  # compiles
    cores = median_of(lambda: adapters.score(values_NU, labels_NC, threads=options.threads), "cpu")
    note = what if options.compiled else f"{what}; numba is missing: not compiled"
    report.figure(f"scoring on {_cores(options)}", cores, "s", note)
    there = torch.from_numpy(values_NU).to(options.device)
    labels = torch.from_numpy(labels_NC.astype(np.int64)).to(options.device)
    took = median_of(lambda: torch_average_precision(there, labels), options.device)
    report.figure("scoring by a sort on the device", took, "s", f"{what}; not in the library")
    ours_CU = adapters.score(values_NU, labels_NC, threads=options.threads)
    difference = np.abs(torch_average_precision(there, labels).cpu().numpy() - ours_CU).max()
    report.check("the two scores, largest difference", float(difference), 1e-12)


def _generation(
    report: Report, options: Options, loaded: LoadedModel, extraction: ExtractionSettings
) -> None:
    """Texts for a concept, unforced and with 50 units forced, as fast as the library writes them."""
    n, new = (8, 8) if options.small else (200, 64)
    forced = _forced(loaded.config, 50, seed=5)
    plain = [TextRequest("unforced", "*", "*", row, 0, None) for row in range(n)]
    held = [TextRequest("forced", "en", "house", row, 0, forced) for row in range(n)]
    settings = GenerationSettings(k=1, max_new_tokens=new, temperature=0.8, top_p=0.9, batch_size=n)
    adapters.texts(loaded, plain[: n // 2], settings.model_copy(update={"max_new_tokens": 4}))
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for name, requests in (("unforced", plain), ("50 units forced", held)):
        synchronize(options.device)
        started = time.perf_counter()
        texts = adapters.texts(loaded, requests, settings)
        rate = float(texts["n_tokens"].sum()) / (time.perf_counter() - started)
        report.figure(f"generation, {name}", rate, "tokens/s", f"{n} texts of {new} tokens, scored too")
    if options.device == "cuda":
        measured = torch.cuda.max_memory_allocated() / 1e9
        estimate = sizes.generation_memory(loaded.config, extraction) - sizes.RUNTIME
        report.figure("device memory of generation, measured", measured, "GB")
        report.figure(
            "device memory of generation by the shapes", estimate / 1e9, "GB", "babelscope.ops.sizes"
        )


def measure_training(report: Report, options: Options) -> None:
    """The paper's XGLM of 257M parameters: its rate, and the share of the peak that it makes use of."""
    config, training = adapters.study_shape("config/studies/xglm-257m.yaml", "xglm-257m")
    steps = [4, 14]
    if options.small:
        config |= {"d_model": 64, "num_layers": 2, "attention_heads": 4, "ffn_dim": 256, "vocab_size": 700}
        training |= {"sequence_length": 32, "batch_size": 16, "accumulation": 2}
        steps = [2, 6]
    training |= {"warmup_steps": 4, "learning_rate": 0.0006}
    _report_shape(report, config)
    batch, length = training["batch_size"], training["sequence_length"]
    while _training_bytes(config, training) > 0.85 * options.card["memory"]:
        if training["accumulation"] * 2 > batch:
            raise Skipped("one window is too much for this device")
        training["accumulation"] *= 2
    folder = options.scratch / "xglm"
    documents = math.ceil(batch / 2) + 10
    text = make_windows(
        folder, vocabulary=config["vocab_size"], length=length, languages=4, documents=documents
    )
    own = {key: value for key, value in config.items() if key not in ("model_type", "vocab_size")}
    started = time.perf_counter()
    adapters.pretrain_steps(
        **text, architecture=config["model_type"], architecture_config=own, training=training, seed=1,
        steps=steps, previous=None, out_dirs={step: folder / str(step) for step in steps},
        shares={f"l{number}": 0.25 for number in range(4)}, threads=options.threads, device=options.device,
    )  # fmt: skip
    took = time.perf_counter() - started
    first, last = (adapters.read_progress(folder / str(step)) for step in steps)
    n_tokens = (steps[1] - steps[0]) * batch * length
    rate = n_tokens / (last["seconds"] - first["seconds"])
    shape = dimensions(config)
    # The last map is the tied table of words: its operations count, looking up a row is none.
    per_token = 6 * last["n_parameters"] + 12 * shape.n_layers * shape.query * length
    parts = training["accumulation"]
    what = f"{last['n_parameters']:,} parameters, {batch} windows of {length} tokens in {parts} parts a step"
    report.figure("training", rate, "tokens/s", f"{what}, {training['precision']}")
    for name, peak in (("the datasheet's peak", "peak"), ("the matrix product's rate", "matmul")):
        if options.card.get(peak):
            share = 100 * rate * per_token / options.card[peak]
            report.figure(f"model FLOPs utilisation, of {name}", share, "%", "6 N + 12 L d S a token")
    report.figure("seconds of a step", batch * length / rate, "s", f"steps {steps[0] + 1} to {steps[1]}")
    days = 2**17 * batch * length / rate / 86400
    if not options.small:
        report.figure("the paper's 131,072 steps", days, "days", "at this rate, without saves")
    report.figure("setting up, saving twice, held-out losses", took - last["seconds"], "s")
    if options.device == "cuda":
        report.figure("device memory, measured", torch.cuda.max_memory_allocated() / 1e9, "GB")
        estimate = _training_bytes(config, training) - sizes.RUNTIME
        report.figure("device memory by the shapes", estimate / 1e9, "GB", "babelscope.ops.sizes")
    report.figure("host memory, measured", host_peak() / 1e9, "GB", "largest resident")
    with report.attempt("planning"):
        planned = _study(options, 2, 36).training_rate("xglm-257m-seed0")
        of = "of the true shape, on a GPU" if options.small else ""
        report.figure("training by the plan", planned, "tokens/s", of)
    losses = [_mean_loss(folder / str(step)) for step in steps]
    report.check(f"its loss falls from step {steps[0]} to {steps[1]}", losses[1] - losses[0], -1e-3,
                 note=f"{losses[0]:.3f} to {losses[1]:.3f} nats")  # fmt: skip
    shutil.rmtree(folder)


def _training_bytes(config: dict[str, Any], training: dict[str, Any]) -> int:
    windows = training["batch_size"] // training["accumulation"]
    return sizes.training_memory(config, positions=windows * training["sequence_length"])


def _mean_loss(folder: Path) -> float:
    rows = (folder / "training/losses.tsv").read_text(encoding="utf-8").splitlines()
    names, *cells = [row.split("\t") for row in rows]
    found = [float(row[names.index("loss")]) for row in cells if row[names.index("split")] == "train"]
    return statistics.mean(found)
