"""Does the device give what the CPU gives? One function per part; each writes its checks to the report.

Where the device is the CPU these run all the same, and show that the checks themselves work.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import adapters
import made_up
import numpy as np
import torch
from adapters import (
    PARITY_TOLERANCE,
    ExtractionSettings,
    GenerationSettings,
    LoadedModel,
    TextRequest,
    UnitSet,
    dimensions,
)
from harness import Options, Report, Skipped
from numpy.typing import NDArray
from safetensors.torch import load_file

SITES = ("attn_qkv", "attn_out", "mlp_in", "mlp_act", "mlp_out")
WORDS = 500


def _config(family: str, options: Options) -> dict[str, Any]:
    width, depth = (64, 3) if options.small else (256, 6)
    vocabulary = WORDS + 12  # a model's table is often longer than its tokenizer
    if family == "bloom":
        sizes = {"hidden_size": width, "n_layer": depth, "n_head": 4}
    else:
        sizes = {"d_model": width, "num_layers": depth, "attention_heads": 4, "ffn_dim": 4 * width}
    return {"model_type": family, "vocab_size": vocabulary, **sizes}


def _folder(family: str, options: Options) -> Path:
    """A checkpoint of random weights, larger than at initialisation, so that attention is not flat."""
    folder = options.scratch / f"small-{family}"
    if not folder.exists():
        built = made_up.model(_config(family, options), device="cpu", dtype=torch.float32)
        with torch.no_grad():
            for weights in built.parameters():
                if weights.ndim > 1:
                    weights.mul_(3)
        adapters.save_model(built, made_up.tokenizer(WORDS), folder)
    return folder


def _sentences(options: Options) -> adapters.Sentences:
    return made_up.sentences(64 if options.small else 256, n_words=WORDS, mean=14, longest=40)


def _settings(**changes: Any) -> ExtractionSettings:
    given = {"sites": SITES, "batch_size": 32, "max_length": 48, "tokens_per_language": 200,
             "mean_sentences": 40, "parity_sentences": 4}  # fmt: skip
    return ExtractionSettings(**{**given, **changes})


def _distance(found: dict[str, NDArray[Any]], known: dict[str, NDArray[Any]]) -> tuple[float, str]:
    """The largest difference as a share of the largest value of its array, and where it is."""
    assert found.keys() == known.keys()
    shares = {
        name: float(np.abs(found[name] - values).max()) / (float(np.abs(values).max()) or 1.0)
        for name, values in known.items()
    }
    worst = max(shares, key=lambda name: np.inf if np.isnan(shares[name]) else shares[name])
    return shares[worst], worst


def check_extraction(report: Report, options: Options) -> None:
    """Pooled units, token states and means of the device against those of the CPU, in every type."""
    exact: dict[str, NDArray[Any]] = {}

    def compare(family: str, dtype: str, pooling: str) -> None:
        settings = _settings(compute_dtype=dtype, poolings=(pooling,))
        found = {}
        for device in ("cpu", options.device):
            loaded = adapters.load_checkpoint(_folder(family, options), dtype=dtype, device=device)
            out = adapters.extract(loaded, _sentences(options), settings, options.scratch / "extracted")
            found[device] = adapters.extracted(out)
        share, where = _distance(found[options.device], found["cpu"])
        if dtype == "float32":
            exact.clear()
            exact.update(found["cpu"])
        else:
            where += f"; the CPU's own distance from float32 is {_distance(found['cpu'], exact)[0]:.1g}"
        report.check(
            f"{family} in {dtype}, {pooling}: units, states and means",
            share, PARITY_TOLERANCE[dtype], note=f"share of the largest value; at {where}",
        )  # fmt: skip

    for family, dtype, pooling in (
        *(("xglm", "float32", pooling) for pooling in ("mean", "last", "max")),
        *(("xglm", dtype, "max") for dtype in ("bfloat16", "float16")),
        *(("bloom", dtype, "max") for dtype in ("float32", "bfloat16", "float16")),
    ):
        with report.attempt(f"{family} in {dtype}, {pooling}"):
            compare(family, dtype, pooling)


def check_architectures(report: Report, options: Options) -> None:
    """A tiny model of every architecture in float32: hooks find the same values on the device."""
    from tiny_models import ARCHITECTURES, CONFIGS, SENTENCES, tiny_loaded

    names = ("bloom", "llama", "gemma2", "bert") if options.small else ARCHITECTURES
    settings = _settings(max_length=24, parity_sentences=3, batch_size=4)
    worst: dict[str, float] = {}
    for name in names:
        with report.attempt(name):  # a version of transformers may have changed one of them
            found = {}
            for device in ("cpu", options.device):
                loaded = tiny_loaded(name)
                loaded.model.to(device)
                out = adapters.extract(loaded, SENTENCES, settings, options.scratch / "architecture")
                found[device] = adapters.extracted(out)
            worst[name] = _distance(found[options.device], found["cpu"])[0]
    last = max(worst, key=lambda name: np.inf if np.isnan(worst[name]) else worst[name])
    report.check(
        f"{len(worst)} of {len(CONFIGS)} architectures in float32", worst[last], PARITY_TOLERANCE["float32"],
        note=f"share of the largest value; at {last}",
    )  # fmt: skip


def torch_average_precision(
    values_NU: torch.Tensor, labels_NC: torch.Tensor, block: int = 65536
) -> torch.Tensor:
    """Average precision by a sort along the sentences on the device, shape ``(C, U)``, float64.

    What :func:`babelscope.analysis.scores.average_precision` computes, written once more in another way: the
    precision at the end of each group of equal values, summed over the positive sentences.

    Args:
        values_NU: Values of the units, finite.
        labels_NC: 1 positive, 0 negative.
        block: Units at a time.
    """
    n = len(values_NU)
    rank_N1 = torch.arange(1, n + 1, device=values_NU.device, dtype=torch.float64)[:, None]
    columns = []
    for part_NU in values_NU.split(block, dim=1):
        sorted_NU, order_NU = part_NU.sort(dim=0, descending=True)
        is_end_NU = torch.ones_like(order_NU, dtype=torch.bool)
        is_end_NU[:-1] = sorted_NU[1:] != sorted_NU[:-1]
        # Of each place the end of its group: the nearest one at or after it.
        at_N1 = torch.arange(n, device=values_NU.device)[:, None]
        end_NU = torch.where(is_end_NU, at_N1, n).flip(0).cummin(dim=0).values.flip(0)
        rows = []
        for label_N in labels_NC.T:
            positive_NU = label_N[order_NU]
            precision_NU = positive_NU.cumsum(dim=0, dtype=torch.float64) / rank_N1
            sums_U = (precision_NU.gather(0, end_NU) * positive_NU).sum(dim=0)
            rows.append(sums_U / label_N.sum())
        columns.append(torch.stack(rows))
    return torch.cat(columns, dim=1)


def check_scoring(report: Report, options: Options) -> None:
    """Scores of what the device extracted; and the scorer itself against a sort on the device."""
    sentences = _sentences(options)
    labels_NC = made_up.labels(len(sentences), 4)
    values, aps = {}, {}
    few = slice(None, None, 1 if options.compiled else 40)  # what is not compiled is slow
    for device in ("cpu", options.device):
        loaded = adapters.load_checkpoint(_folder("bloom", options), device=device)
        out = adapters.extract(loaded, sentences, _settings(), options.scratch / f"scored-{device}")
        values[device] = np.ascontiguousarray(adapters.unit_block(out, len(sentences))[:, few])
        aps[device] = adapters.score(values[device], labels_NC, threads=options.threads)
    # Rounding swaps sentences whose values are almost equal: each swap moves a score by up to 1 / positives.
    difference_CU = np.abs(aps[options.device] - aps["cpu"])
    n_units = difference_CU.shape[1]
    report.check(
        "scores of what the device extracted: mean difference", float(difference_CU.mean()), 1e-3,
        note=f"largest {difference_CU.max():.1g}; {np.mean(difference_CU < 1e-12):.1%} are the same",
    )  # fmt: skip
    k = max(10, n_units // 20)
    best = {device: np.argsort(-ap_CU, axis=1, kind="stable")[:, :k] for device, ap_CU in aps.items()}
    pairs = zip(best["cpu"], best[options.device], strict=True)
    shared = float(np.mean([len(np.intersect1d(*pair)) / k for pair in pairs]))
    report.check(f"the best {k} of {n_units} units are the same", shared, 0.98, at_least=True)
    _check_stream(report, options)
    values_NU = values["cpu"].copy()
    values_NU[:, ::3] = values_NU[:, ::3].round(1)  # many ties
    ours_CU = adapters.score(values_NU, labels_NC, threads=options.threads)
    there = [torch.from_numpy(array).to(options.device) for array in (values_NU, labels_NC.astype(np.int64))]
    theirs_CU = torch_average_precision(*there).cpu().numpy()
    name = "the scorer (numba) against a sort by torch on the device, with ties"
    if not options.compiled:
        name = "the scorer (numba is missing: not compiled, few units) against a sort by torch on the device"
    report.check(name, float(np.abs(ours_CU - theirs_CU).max()), 1e-12)


def _check_stream(report: Report, options: Options) -> None:
    """Scored as the model runs, and from the store, on the device: the same numbers."""
    sentences = _sentences(options)
    if not options.compiled:
        sentences = sentences[:32]
    concepts = made_up.concepts(sentences, 4)
    loaded = adapters.load_checkpoint(_folder("xglm", options), device=options.device)
    out = adapters.extract(loaded, sentences, _settings(), options.scratch / "stored")
    known = adapters.scores_of(adapters.score_store(out, concepts, threads=options.threads))
    for background in (False, True):
        out = adapters.extract_scored(
            loaded, sentences, concepts, _settings(), options.scratch / "stream",
            threads=options.threads, background=background,
        )  # fmt: skip
        found = adapters.scores_of(out)
        differing = [name for name in known if not np.array_equal(found[name], known[name], equal_nan=True)]
        where = "beside the model" if background else "between its batches"
        note = f"{len(differing)} of {len(known)} arrays differ" if differing else "bit by bit"
        report.holds(f"scores of a stream, scored {where}, are those of the store", not differing, note)


def _forced(config: dict[str, Any], n: int, seed: int) -> UnitSet:
    """Some units of every layer and site, each with a value of its own."""
    rng = np.random.default_rng(seed)
    widths = adapters.site_widths(config, SITES)
    drawn = [(*list(widths)[number], number) for number in rng.integers(0, len(widths), n)]
    units = [int(rng.integers(0, list(widths.values())[number])) for *_, number in drawn]
    layers, sites = [layer for layer, _, _ in drawn], [site for _, site, _ in drawn]
    return UnitSet(layers, sites, units, rng.normal(1.0, 0.5, n).tolist())


@torch.inference_mode()
def check_forcing(report: Report, options: Options) -> None:
    """A forced unit holds its value in its own row and nowhere else, logits change, and hooks heal."""
    for family in ("bloom", "xglm"):
        loaded = adapters.load_checkpoint(_folder(family, options), device=options.device)
        model = loaded.model
        ids_BT = torch.arange(4, 4 + 3 * 10, device=loaded.device).view(3, 10)
        before = model(input_ids=ids_BT, use_cache=False).logits
        n_hooks = _n_hooks(model)
        forced = _forced(loaded.config, 60, seed=3)
        with adapters.force_units(model, [None, forced, None]):
            seen = _values_at(model, forced, ids_BT)
            during = model(input_ids=ids_BT, use_cache=False).logits
        after = model(input_ids=ids_BT, use_cache=False).logits
        wrong = max(
            float((seen[cell][1][:, torch.from_numpy(units).to(loaded.device)]
                   - torch.from_numpy(values).to(loaded.device, torch.float32)).abs().max())
            for cell, (units, values) in forced.cells.items()
        )  # fmt: skip
        name = f"{family}, {len(forced)} units at {len(forced.cells)} places"
        report.check(f"{name}: a forced unit holds its value", wrong, 0.0)
        moved = float((during[1] - before[1]).abs().max())
        report.check(f"{name}: logits change", moved, 1e-4, at_least=True)
        still = float((during[[0, 2]] - before[[0, 2]]).abs().max() / before.abs().max())
        report.check(f"{name}: those of other rows do not", still, PARITY_TOLERANCE["float32"])
        healed = torch.equal(before, after) and _n_hooks(model) == n_hooks
        report.holds(f"{name}: afterwards all is as before", healed)


def _n_hooks(model: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def _values_at(model: Any, forced: UnitSet, ids_BT: torch.Tensor) -> dict[Any, torch.Tensor]:
    """What stands at the places of forced units after forcing: shape ``(B, T, U)`` by place."""
    parts: dict[Any, OrderedDict[int, torch.Tensor]] = {cell: OrderedDict() for cell in forced.cells}
    watchers = []
    for layer, site in forced.cells:
        for number, place in enumerate(adapters.site_modules(model, site, layer)):

            def keep(x: torch.Tensor, cell: Any = (layer, site), number: int = number) -> None:
                parts[cell][number] = x.clone()

            watchers.append((place, keep))
    with adapters.watching(watchers):
        model(input_ids=ids_BT, use_cache=False)
    return {cell: torch.cat([own[at] for at in sorted(own)], dim=-1) for cell, own in parts.items()}


def check_generation(report: Report, options: Options) -> None:
    """In float32 the same random numbers give the same texts on both; also while units are forced."""
    n = (6, 8) if options.small else (48, 32)
    settings = GenerationSettings(k=1, max_new_tokens=n[1], temperature=0.8, top_p=0.9, batch_size=2 * n[0])
    for family in ("bloom", "xglm"):
        found = {}
        for device in ("cpu", options.device):
            loaded = adapters.load_checkpoint(_folder(family, options), device=device)
            forced = _forced(loaded.config, 20, seed=4)
            requests = [TextRequest("unforced", "*", "*", row, 0, None) for row in range(n[0])]
            requests += [TextRequest("forced", "en", "house", row, 0, forced) for row in range(n[0])]
            found[device] = adapters.texts(loaded, requests, settings)
        mine, cpu = found[options.device], found["cpu"]
        same = [list(a) == list(b) for a, b in zip(mine["token_ids"], cpu["token_ids"], strict=True)]
        share = float(np.mean(same))
        report.check(f"{family}: texts that are the same as the CPU's", share, 0.95, at_least=True,
                     note=f"{len(same)} texts of {n[1]} tokens, half of them forced")  # fmt: skip
        nats = np.abs(mine["nll"] - cpu["nll"])[same]
        report.check(f"{family}: their loss, difference in nats a token", float(nats.max()), 1e-3)


def make_windows(
    folder: Path, *, vocabulary: int, length: int, languages: int, documents: int
) -> dict[str, Path]:
    """A tokenizer and the windows of a made-up corpus; ``tokens_h5`` and ``tokenizer_dir``."""
    folder.mkdir(parents=True)
    made_up.tokenizer(vocabulary).save_pretrained(folder / "tokenizer")
    texts = made_up.corpus(
        folder, languages=languages, documents=documents, words=length + 8, n_words=vocabulary
    )
    adapters.tokenize_corpus(texts, folder / "tokenizer", folder / "windows.h5", sequence_length=length)
    return {"tokens_h5": folder / "windows.h5", "tokenizer_dir": folder / "tokenizer"}


def check_training(report: Report, options: Options) -> None:
    """Pre-training in bfloat16: the loss falls, and a run in two jobs has the same weights."""
    folder = options.scratch / "training"
    text = make_windows(folder, vocabulary=WORDS, length=32, languages=2, documents=120)
    config = {key: value for key, value in _config("xglm", options).items()
              if key not in ("model_type", "vocab_size")} | {"dropout": 0.1}  # fmt: skip
    middle, last = (4, 12) if options.small else (10, 40)

    def train(where: str, steps: list[int], previous: int | None = None, device: str = "") -> Any:
        out = {step: folder / where / str(step) for step in steps}
        training = {"sequence_length": 32, "batch_size": 16, "accumulation": 2, "learning_rate": 3e-3,
                    "warmup_steps": 2, "precision": "bfloat16"}  # fmt: skip
        adapters.pretrain_steps(
            **text, architecture="xglm", architecture_config=config, training=training, seed=1, steps=steps,
            previous=None if previous is None else folder / where / str(previous), out_dirs=out,
            shares={"l0": 0.5, "l1": 0.5}, threads=options.threads, device=device or options.device,
        )  # fmt: skip
        return {step: load_file(path / "model.safetensors") for step, path in out.items()}

    def losses(where: str, step: int) -> Any:
        import pandas as pd

        table = pd.read_csv(folder / where / str(step) / "training/losses.tsv", sep="\t")
        return table.groupby("split")["loss"].mean()

    whole = train("whole", [0, middle, last])
    first = train("parts", [middle])
    second = train("parts", [last], previous=middle)
    before, after = losses("whole", 0), losses("whole", last)
    for split in ("train", "heldout"):
        report.check(
            f"bfloat16: {split} loss after {last} steps, of that at step 0",
            float(after[split] / before[split]), 0.97, note=f"{before[split]:.3f} to {after[split]:.3f} nats",
        )  # fmt: skip
    for step, parts in ((middle, first[middle]), (last, second[last])):
        differing = [name for name, values in whole[step].items() if not torch.equal(values, parts[name])]
        note = f"{len(differing)} of {len(parts)} tensors differ" if differing else "bit by bit"
        report.holds(f"a run in two jobs has the same weights at step {step}", not differing, note)
    alone = train("cpu", [0], device="cpu")
    same = all(torch.equal(values, alone[0][name]) for name, values in whole[0].items())
    report.holds("the device starts from the CPU's random weights", same)
    difference = abs(float(losses("cpu", 0)["train"]) - float(before["train"]))
    report.check("loss at step 0 in bfloat16, difference from the CPU's in nats", difference, 0.02)


def check_spread(report: Report, options: Options) -> None:
    """A model over several devices gives what it gives on one."""
    if options.device != "cuda":
        raise Skipped("one device; needs a GPU")
    for family in ("bloom", "xglm"):
        with report.attempt(f"{family} over several devices"):
            _check_spread_of(family, report, options)


def _check_spread_of(family: str, report: Report, options: Options) -> None:
    sentences, settings, folder = _sentences(options), _settings(), _folder(family, options)
    one = adapters.load_checkpoint(folder, device="cuda")
    known = adapters.extracted(adapters.extract(one, sentences, settings, options.scratch / "one"))

    def compare(name: str, loaded: LoadedModel) -> None:
        found = adapters.extracted(adapters.extract(loaded, sentences, settings, options.scratch / "other"))
        share, where = _distance(found, known)
        report.check(name, share, PARITY_TOLERANCE["float32"], note=f"share of the largest value; at {where}")

    spread = adapters.load_checkpoint(folder, device="spread")
    places = sorted({str(values.device) for values in spread.model.parameters()})
    compare(f"{family}, device: spread, over {', '.join(places)}", spread)
    mixed = over_two(adapters.load_checkpoint(folder, device="cpu"), 0)
    compare(f"{family}, its first blocks on the GPU and the others on the CPU", mixed)
    forced = _forced(mixed.config, 20, seed=4)
    requests = [TextRequest("forced", "en", "house", row, 0, forced) for row in range(8)]
    writing = GenerationSettings(k=1, max_new_tokens=8, batch_size=8)
    texts = [adapters.texts(loaded, requests, writing)["token_ids"] for loaded in (one, mixed)]
    same = float(np.mean([list(a) == list(b) for a, b in zip(*texts, strict=True)]))
    report.check(f"{family}, so laid out, writes the same forced texts", same, 0.85, at_least=True)


def over_two(loaded: LoadedModel, first: Any) -> LoadedModel:
    """The model with its first blocks on device ``first`` and the others on the CPU.

    As ``device: spread`` lays it over two GPUs, where there is one.
    """
    from accelerate import dispatch_model

    base = loaded.model.base_model_prefix
    half = dimensions(loaded.config).n_layers // 2
    place: dict[str, Any] = {}
    for name, module in getattr(loaded.model, base).named_children():
        if isinstance(module, torch.nn.ModuleList):
            place |= {f"{base}.{name}.{at}": first if at < half else "cpu" for at in range(len(module))}
        else:
            place[f"{base}.{name}"] = first
    place["lm_head"] = first
    # With the CPU as main device its blocks run there; else their weights would be sent to the GPU.
    keys = getattr(loaded.model, "_skip_keys_device_placement", None)
    model = dispatch_model(loaded.model, place, main_device="cpu", skip_keys=keys, force_hooks=True)
    return replace(loaded, model=model)
