"""The audit: planted faults are found, healthy series are not flagged, and weights are measured as they are."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from babelscope.analysis.audit.files import KIND, CheckpointAudit, HeldOutLoss, audit_files, write_audit
from babelscope.analysis.audit.judge import Curve, Distances, Series, collect_audit, judge, most
from babelscope.analysis.audit.weights import (
    SKETCH_ENTRIES,
    audit_checkpoint,
    choose_sentences,
    heldout_loss,
    measure_weights,
)
from babelscope.errors import DataError, StoreError
from babelscope.io.h5 import atomic_h5
from babelscope.io.tables import read_table, write_table
from babelscope.models.checkpoints import load_checkpoint, save_model
from babelscope.models.files import Manifest, weights_hash, write_manifest
from babelscope.report.catalogue import count_parameters
from tiny_models import SENTENCES, tiny_loaded, tiny_model, tiny_tokenizer

#: English perplexities of the eight steps of BLOOM-560m (hub discussion 2 of its intermediate repo).
BLOOM = {
    1000: 392,
    10000: 71,
    100000: 53,
    200000: 51,
    300000: 50,
    400000: 50,
    500000: 71,
    600000: 320322,
}
STEPS = (0, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000)


def curve(losses: Sequence[float], *, languages: int = 8, se: float = 0.02) -> Curve:
    loss_SL = np.repeat(np.asarray(losses, dtype=float)[:, None], languages, axis=1)
    n = len(losses)
    return Curve(loss_SL, np.full((n, n, languages), se) * (1 - np.eye(n))[:, :, None])


def series(
    losses: Sequence[float] | None,
    steps: Sequence[int] = STEPS,
    *,
    digests: Sequence[str] | None = None,
    **parts,
) -> Series:
    return Series(
        steps=tuple(steps),
        digests=tuple(digests or [f"weights of {step}" for step in steps]),
        broken=tuple(parts.pop("broken", [""] * len(steps))),
        curve=None if losses is None else curve(losses, **parts),
    )


def kinds(found: Series) -> dict[int, set[str]]:
    return {step: {flag.kind for flag in flags} for step, flags in judge(found).items() if flags}


def reasons(found: Series, step: int) -> str:
    return "; ".join(flag.reason for flag in judge(found)[step])


def healthy(n: int = len(STEPS)) -> list[float]:
    return [12.4, *(3.0 + 4 * np.exp(-0.6 * np.arange(n - 1)))]


# ------------------------------------------------------------------------------------------ losses


def test_the_two_false_steps_of_bloom_560m_and_no_other() -> None:
    losses = [np.log(ppl) for ppl in BLOOM.values()]
    digests = [f"weights of {10000 if step == 500000 else step}" for step in BLOOM]
    found = series(losses, list(BLOOM), digests=digests, languages=1)
    assert kinds(found) == {500000: {"duplicate"}, 600000: {"loss"}}
    assert "its weights are those of step 10000; they belong to step 10000, where" in reasons(found, 500000)
    assert "(here 4.26 nats per token against 3.91 at step 400000)" in reasons(found, 500000)
    assert "12.68 nats per token against 3.91 at step 400000" in reasons(found, 600000)


def test_bloom_560m_by_its_losses_alone() -> None:
    assert kinds(series([np.log(ppl) for ppl in BLOOM.values()], list(BLOOM), languages=1)) == {
        500000: {"loss"},
        600000: {"loss"},
    }


def test_bloom_560m_behind_a_random_baseline() -> None:
    losses = [12.43, *(np.log(ppl) for ppl in BLOOM.values())]
    assert set(kinds(series(losses, [0, *BLOOM], languages=1))) == {500000, 600000}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 20),
    noise=st.floats(0.0, 0.03),
    rate=st.floats(0.05, 2.0),
    floor=st.floats(0.5, 4.0),
)
def test_a_healthy_noisy_curve_is_never_flagged(
    seed: int, n: int, noise: float, rate: float, floor: float
) -> None:
    rng = np.random.default_rng(seed)
    base = floor + 8 * np.exp(-rate * np.arange(n))
    loss_SL = base[:, None] + rng.normal(0, 0.5, 6)[None, :] + rng.normal(0, noise, (n, 6))
    steps = tuple(2**i for i in range(n))
    se_SSL = np.full((n, n, 6), noise * np.sqrt(2))
    found = Series(steps, tuple(map(str, steps)), ("",) * n, Curve(loss_SL, se_SSL))
    assert kinds(found) == {}


def test_small_bumps_and_restarts_are_healthy() -> None:
    losses = healthy()
    losses[5] = losses[4] + 0.09  # a spike of training that a checkpoint caught
    losses[8] = losses[7] + 0.2  # a restart of the learning rate at the end
    assert kinds(series(losses)) == {}


def test_a_bump_within_the_noise_of_few_sentences_is_not_flagged() -> None:
    losses = healthy()
    losses[5] = losses[4] + 0.3
    assert kinds(series(losses, se=0.1)) == {}
    assert kinds(series(losses, se=0.01)) == {16000: {"loss"}}


def test_half_of_the_languages_are_not_enough() -> None:
    found = series(healthy())
    found.curve.loss_SL[6, :4] += 1.0
    assert kinds(found) == {}
    found.curve.loss_SL[6, 4] += 1.0
    assert kinds(found) == {32000: {"loss"}}
    assert "in 5 of 8 languages" in reasons(found, 32000)


def test_random_weights_at_one_step_and_at_the_last() -> None:
    for at in (2, 5, 8):
        losses = healthy()
        losses[at] = 12.4
        assert kinds(series(losses)) == {STEPS[at]: {"loss"}}


def test_two_false_steps_side_by_side() -> None:
    losses = healthy()
    losses[5], losses[6] = 12.0, 10.0
    assert set(kinds(series(losses))) == {16000, 32000}


def test_the_first_step_and_step_0_are_not_flagged_for_their_loss() -> None:
    losses = healthy()
    losses[0] = 30.0
    assert kinds(series(losses)) == {}
    assert kinds(series(losses[1:], STEPS[1:])) == {}


def test_no_losses_no_distances_nothing_to_flag() -> None:
    assert kinds(series(None)) == {}


@pytest.mark.parametrize(("values", "expected"), [([3.0], 3), ([1, 5], 1), ([1, 2, 3], 2), ([9, 1, 1, 1], 1)])
def test_most_is_what_more_than_half_reach(values: list[float], expected: float) -> None:
    assert most(np.array(values, dtype=float)) == expected


# -------------------------------------------------------------------------------------- duplicates


def test_a_duplicate_whose_loss_fits_both_places_is_not_decided() -> None:
    losses = healthy()
    losses[7] = losses[6]
    digests = [f"{step}" for step in STEPS]
    digests[7] = digests[6]
    found = series(losses, digests=digests)
    assert kinds(found) == {32000: {"duplicate"}, 64000: {"duplicate"}}
    assert "those of step 64000; whose they are is not known" in reasons(found, 32000)
    assert "in line at steps 32000 and 64000" in reasons(found, 32000)


def test_an_early_name_with_late_weights_is_the_false_one() -> None:
    losses = healthy()
    losses[2] = losses[8]
    digests = [f"{step}" for step in STEPS]
    digests[2] = digests[8]
    found = series(losses, digests=digests)
    assert kinds(found) == {2000: {"duplicate"}}
    assert "they belong to step 128000" in reasons(found, 2000)


def test_an_early_name_with_late_weights_is_found_without_its_twin() -> None:
    losses = healthy()
    losses[2] = losses[8]
    assert kinds(series(losses)) == {2000: {"loss"}}


def test_many_names_of_one_checkpoint() -> None:
    losses = [*healthy()[:2], *[3.0] * 7]
    found = series(losses, digests=["a", "b", *["final"] * 7])
    flagged = kinds(found)
    assert set(flagged) == set(STEPS[2:])
    assert "6 other steps" not in reasons(found, 2000)
    assert "steps 4000, 8000, 16000, 32000, 64000 and 128000" in reasons(found, 2000)


def test_equal_weights_that_fit_nowhere_are_all_flagged() -> None:
    losses = healthy()
    losses[4] = losses[6] = 12.0
    digests = [f"{step}" for step in STEPS]
    digests[4] = digests[6]
    found = series(losses, digests=digests)
    assert kinds(found) == {8000: {"duplicate"}, 32000: {"duplicate"}}
    assert "out of line at each" in reasons(found, 8000)


# --------------------------------------------------------------------------------------- distances


def walk(n: int, *, size: int = 4000, straight: float = 0.5, seed: int = 0) -> np.ndarray:
    """A path through weights: a random walk from random weights, with a drift."""
    rng = np.random.default_rng(seed)
    drift = rng.normal(size=size)
    moves = [straight * drift + (1 - straight) * rng.normal(size=size) for _ in range(n - 1)]
    return 2 * rng.normal(size=size) + np.concatenate(
        [np.zeros((1, size)), np.cumsum(0.4 * np.array(moves), axis=0)]
    )


def apart(weights: np.ndarray) -> Distances:
    dots = weights @ weights.T
    own = np.diag(dots)
    return Distances(
        np.sqrt(np.maximum(own[:, None] + own[None] - 2 * dots, 0)),
        dots / np.sqrt(own[:, None] * own[None]),
        np.sqrt(own),
    )


def with_weights(
    weights: np.ndarray, losses: Sequence[float] | None = None, steps: Sequence[int] = STEPS
) -> Series:
    found = series(losses, steps)
    return Series(found.steps, found.digests, found.broken, found.curve, apart(weights))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), straight=st.floats(0.0, 1.0), n=st.integers(2, 9))
def test_a_healthy_path_is_never_flagged(seed: int, straight: float, n: int) -> None:
    weights = walk(n, straight=straight, seed=seed)
    assert kinds(with_weights(weights, None, STEPS[:n])) == {}
    assert kinds(with_weights(weights, healthy(n), STEPS[:n])) == {}


def test_weights_at_rest_with_noise_are_not_flagged() -> None:
    rng = np.random.default_rng(1)
    weights = rng.normal(size=4000) * 3 + rng.normal(size=(9, 4000)) * 0.5
    weights[8] -= (weights[8] - weights[:8].mean(axis=0)) * 0.9  # annealed at the end
    assert kinds(with_weights(weights)) == {}
    assert kinds(with_weights(weights, [12.4, *[3.0] * 8])) == {}


@pytest.mark.parametrize("at", [3, 6, 8])
def test_weights_drawn_anew_are_flagged_without_any_text(at: int) -> None:
    weights = walk(9)
    weights[at] = np.random.default_rng(99).normal(size=4000) * np.linalg.norm(weights[at]) / np.sqrt(4000)
    found = with_weights(weights)
    assert kinds(found) == {STEPS[at]: {"distance"}}
    assert ("off the path" in reasons(found, STEPS[at])) or ("drawn anew" in reasons(found, STEPS[at]))


def test_weights_drawn_anew_show_in_both_signs() -> None:
    weights, losses = walk(9), healthy()
    weights[5] = np.random.default_rng(99).normal(size=4000) * 2
    losses[5] = 12.4
    assert kinds(with_weights(weights, losses)) == {16000: {"loss", "distance"}}


def test_a_first_step_far_from_the_second_is_healthy() -> None:
    weights = walk(9)
    weights[0] = np.random.default_rng(99).normal(size=4000)  # a baseline that is not the true start
    weights[1] = weights[2] + 3 * np.random.default_rng(98).normal(size=4000)
    assert kinds(with_weights(weights, healthy())) == {}


@pytest.mark.parametrize(("a", "b"), [(3, 7), (3, 4), (1, 2), (6, 8), (7, 8), (1, 8)])
def test_two_exchanged_steps_are_named(a: int, b: int) -> None:
    weights, losses = walk(9), np.linspace(6, 3, 9)
    order = list(range(9))
    order[a], order[b] = b, a
    found = with_weights(weights[order], losses[order])
    assert kinds(found) == {STEPS[a]: {"swap"}, STEPS[b]: {"swap"}}
    assert f"exchanged with step {STEPS[b]}" in reasons(found, STEPS[a])
    assert f"exchanged with step {STEPS[a]}" in reasons(found, STEPS[b])


def test_exchanged_steps_of_an_encoder_show_in_the_weights_alone() -> None:
    order = [0, 1, 2, 7, 4, 5, 6, 3, 8]
    assert kinds(with_weights(walk(9)[order])) == {4000: {"swap"}, 64000: {"swap"}}


def test_weights_drawn_anew_early_are_no_exchange() -> None:
    """Early weights grow, so new ones may fit better a step earlier by their norm alone."""
    rng = np.random.default_rng(3)
    weights = walk(9, straight=0.9)
    weights[0] *= 0.3
    weights[2] = 0.6 * rng.normal(size=4000)
    losses = [12.4, 9.0, 12.4, *np.linspace(6, 3, 6)]
    assert kinds(with_weights(weights, losses)) == {2000: {"loss", "distance"}}


def test_a_late_exchange_shows_though_the_loss_hardly_falls() -> None:
    order = [0, 1, 2, 3, 4, 7, 6, 5, 8]
    losses = np.array([6, 5, 4, 3.5, 3.3, 3.25, 3.22, 3.19, 3.16])
    found = series(losses[order], se=0.002)
    found = Series(found.steps, found.digests, found.broken, found.curve, apart(walk(9)[order]))
    assert kinds(found) == {16000: {"swap"}, 64000: {"swap"}}


def test_a_series_may_begin_with_a_step_0_that_is_another() -> None:
    order = [4, 1, 2, 3, 0, 5, 6, 7, 8]
    found = with_weights(walk(9)[order], np.linspace(6, 3, 9)[order])
    assert kinds(found) == {0: {"swap"}, 8000: {"swap"}}


def test_two_pairs_of_exchanged_steps() -> None:
    order = [0, 2, 1, 3, 4, 7, 6, 5, 8]
    found = with_weights(walk(9)[order], np.linspace(6, 3, 9)[order])
    assert kinds(found) == {step: {"swap"} for step in (1000, 2000, 16000, 64000)}


def test_the_weights_decide_where_a_duplicate_belongs() -> None:
    weights, losses = walk(9), [*healthy()[:5], 3.2, 3.19, 3.2, 3.1]
    weights[7] = weights[5]
    base = with_weights(weights, losses)
    digests = list(base.digests)
    digests[7] = digests[5]
    undecided = Series(base.steps, tuple(digests), base.broken, base.curve)
    assert kinds(undecided) == {16000: {"duplicate"}, 64000: {"duplicate"}}
    decided = Series(base.steps, tuple(digests), base.broken, base.curve, base.distances)
    assert kinds(decided) == {64000: {"duplicate"}}
    assert "they lie between the weights of the steps beside them" in reasons(decided, 64000)


def test_neither_loss_nor_weights_tell_which_of_two_neighbours_is_true() -> None:
    weights, losses = walk(9), healthy()
    weights[7], losses[7] = weights[6], losses[6]
    base = with_weights(weights, losses)
    digests = (*base.digests[:7], base.digests[6], base.digests[8])
    found = Series(base.steps, digests, base.broken, base.curve, base.distances)
    assert kinds(found) == {32000: {"duplicate"}, 64000: {"duplicate"}}


def test_weights_that_are_not_finite_are_no_neighbours() -> None:
    losses = healthy()
    losses[4] = np.nan
    broken = [""] * 9
    broken[4] = "3 of 10 weights are NaN or infinite, the first in h.0.weight"
    found = series(losses, broken=broken)
    assert kinds(found) == {8000: {"nonfinite"}}
    assert "the first in h.0.weight" in reasons(found, 8000)


# ------------------------------------------------------------------------------ weights of a folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BLOOM as safetensors."""
    path = tmp_path_factory.mktemp("bloom")
    save_model(tiny_model("bloom"), tiny_tokenizer(), path)
    return path


def as_bin(
    folder: Path, out: Path, *, dtype: torch.dtype = torch.float32, shards: int = 1, bare: bool = False
) -> Path:
    """The same weights in the format of BLOOM's intermediate checkpoints."""
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("*.safetensors"))
    model = load_checkpoint(folder).model
    state = {
        name: value.to(dtype).clone()
        for name, value in (model.base_model if bare else model).state_dict().items()
    }
    names = [
        f"pytorch_model-{at + 1:05d}-of-{shards:05d}.bin" if shards > 1 else "pytorch_model.bin"
        for at in range(shards)
    ]
    places = {name: names[at % shards] for at, name in enumerate(state)}
    for file in names:
        torch.save({name: state[name] for name in state if places[name] == file}, out / file)
    if shards > 1:
        (out / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return out


def test_the_digest_does_not_depend_on_format_shards_prefix_or_tying(folder: Path, tmp_path: Path) -> None:
    digest = measure_weights(folder).digest
    assert measure_weights(as_bin(folder, tmp_path / "bin")).digest == digest
    assert measure_weights(as_bin(folder, tmp_path / "shards", shards=3)).digest == digest
    assert measure_weights(as_bin(folder, tmp_path / "bare", bare=True)).digest == digest


def test_half_precision_gives_one_digest_in_both_formats(folder: Path, tmp_path: Path) -> None:
    halves = as_bin(folder, tmp_path / "bin", dtype=torch.float16)
    model = load_checkpoint(folder).model.half()
    save_model(model, tiny_tokenizer(), tmp_path / "safetensors")
    assert measure_weights(halves).digest == measure_weights(tmp_path / "safetensors").digest
    assert measure_weights(halves).digest != measure_weights(folder).digest


def test_one_weight_changes_the_digest(folder: Path, tmp_path: Path) -> None:
    model = load_checkpoint(folder).model
    with torch.no_grad():
        model.transformer.h[1].mlp.dense_4h_to_h.weight[0, 0] += 1e-4
    save_model(model, tiny_tokenizer(), tmp_path)
    assert measure_weights(tmp_path).digest != measure_weights(folder).digest


def test_norms_and_numbers_are_exact(folder: Path) -> None:
    facts = measure_weights(folder)
    state = load_checkpoint(folder).model.transformer.state_dict()
    assert facts.names == tuple(sorted(state))
    assert facts.n_weights == sum(value.numel() for value in state.values())
    assert facts.norms_T == pytest.approx([float(state[name].norm()) for name in sorted(state)], rel=1e-6)
    assert facts.is_matrix_T.tolist() == [state[name].ndim >= 2 for name in sorted(state)]
    assert (facts.n_nonfinite, facts.first_nonfinite) == (0, "")


def test_masks_and_other_constants_do_not_count(tmp_path: Path) -> None:
    weights = {"wte.weight": torch.ones(4, 3)}
    constants = {
        "h.0.attn.bias": torch.ones(1, 1, 4, 4),
        "h.0.attn.masked_bias": torch.tensor(-1e4),
        "h.0.rotary_emb.inv_freq": torch.ones(2),
        "position_ids": torch.arange(4),
    }
    for name, tensors in (("bare", weights), ("full", weights | constants)):
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    assert measure_weights(tmp_path / "bare").digest == measure_weights(tmp_path / "full").digest


def test_weights_that_are_not_finite_are_counted_and_named(folder: Path, tmp_path: Path) -> None:
    model = load_checkpoint(folder).model
    with torch.no_grad():
        model.transformer.h[1].mlp.dense_h_to_4h.bias[:2] = torch.inf
        model.transformer.h[0].mlp.dense_h_to_4h.weight[3, 3] = torch.nan
    save_model(model, tiny_tokenizer(), tmp_path)
    facts = measure_weights(tmp_path)
    assert (facts.n_nonfinite, facts.first_nonfinite) == (3, "h.0.mlp.dense_h_to_4h.weight")
    assert np.isfinite(facts.norms_T).all()


def test_the_sketch_holds_the_same_entries_at_every_step(tmp_path: Path) -> None:
    sketches = []
    for factor in (1.0, 2.0):
        path = tmp_path / str(factor)
        path.mkdir()
        big = torch.arange(10_000, dtype=torch.float32).reshape(100, 100)
        save_file(
            {"big.weight": big * factor, "small.weight": torch.eye(3) * factor}, path / "model.safetensors"
        )
        sketches.append(measure_weights(path))
    assert sketches[0].counts_T.tolist() == [SKETCH_ENTRIES, 9]
    assert np.array_equal(2 * sketches[0].sketch_M, sketches[1].sketch_M)
    assert len(set(sketches[0].sketch_M[:SKETCH_ENTRIES])) == SKETCH_ENTRIES


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no weights"),
        ({"model.safetensors": b"no"}, "cannot be read"),
        ({"pytorch_model.bin": b"no"}, "cannot be read"),
        ({"model.safetensors.index.json": b"[]", "pytorch_model.bin": b"no"}, "is no index of weights"),
        ({"consolidated.safetensors": b"no"}, "has no weights"),
    ],
)
def test_files_that_are_no_weights_are_named(
    content: dict[str, bytes] | None, message: str, tmp_path: Path
) -> None:
    for name, data in (content or {}).items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        measure_weights(tmp_path)


# ------------------------------------------------------------------------------------ held-out loss


@pytest.mark.parametrize("architecture", ["bloom", "xglm", "llama"])
def test_the_loss_is_that_of_each_sentence_alone(architecture: str) -> None:
    loaded = tiny_loaded(architecture)
    held = heldout_loss(loaded, SENTENCES, max_length=32, where="sentences")
    for at, (_, text) in enumerate(SENTENCES):
        ids = torch.tensor(
            [[loaded.start_id, *loaded.tokenizer(text, add_special_tokens=False)["input_ids"]]]
        )
        with torch.inference_mode():
            mean = float(loaded.model(input_ids=ids, labels=ids).loss)
        assert held.tokens_N[at] == ids.shape[1] - 1
        assert held.nats_N[at] == pytest.approx(mean * held.tokens_N[at], rel=1e-4)
        assert held.bytes_N[at] == len(text.encode())
    assert held.loss == pytest.approx(held.nats_N.sum() / held.tokens_N.sum())
    assert held.bits_per_byte == pytest.approx(held.nats_N.sum() / np.log(2) / held.bytes_N.sum())


def test_the_loss_behind_a_prefix_is_that_of_the_sentence_alone() -> None:
    """The loss of the whole less that of the prefix: what comes before is given, and does not count."""
    loaded, prefix = tiny_loaded("xglm"), "la casa "
    held = heldout_loss(loaded, SENTENCES, max_length=32, where="sentences", prefix=prefix)
    whole = heldout_loss(
        loaded, [(name, prefix + text) for name, text in SENTENCES], max_length=32, where="x"
    )
    (before,) = heldout_loss(loaded, [("a", prefix)], max_length=32, where="x").nats_N
    np.testing.assert_allclose(held.nats_N, whole.nats_N - before, rtol=1e-4)
    assert held.tokens_N.tolist() == [len(text.split()) for _, text in SENTENCES]
    assert held.bytes_N.tolist() == [len(text.encode()) for _, text in SENTENCES]


def test_cut_sentences_count_for_the_loss_but_not_for_bits_per_byte() -> None:
    held = heldout_loss(tiny_loaded("bloom"), SENTENCES, max_length=8, where="sentences")
    assert held.tokens_N.max() == 7
    assert [n > 0 for n in held.bytes_N] == [tokens < 7 for tokens in held.tokens_N]
    shortest = heldout_loss(tiny_loaded("bloom"), SENTENCES[:1], max_length=3, where="sentences")
    assert np.isnan(shortest.bits_per_byte)


def test_the_standard_error_covers_the_truth() -> None:
    """Over many draws of sentences, the error of the loss is as large as its standard error says."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(5, 30, size=(2000, 100))
    nats = tokens * 3.0 + np.sqrt(tokens) * rng.normal(0, 2, size=tokens.shape)
    held = [HeldOutLoss(("",) * 100, n, t, t) for n, t in zip(nats, tokens, strict=True)]
    z = np.array([(h.loss - 3.0) / h.loss_se for h in held])
    assert z.std() == pytest.approx(1.0, abs=0.06)


def test_the_same_sentences_are_chosen_in_every_language() -> None:
    a = [(f"L{n:05d}", f"text {n}") for n in range(50)]
    b = [(f"L{n:05d}", f"Text {n}") for n in reversed(range(50))]
    assert [i for i, _ in choose_sentences(a, 10)] == [i for i, _ in choose_sentences(b, 10)]
    assert len(choose_sentences(a, 100)) == 50


# --------------------------------------------------------------------- real weights, end to end


def audited(model: object, where: Path, step: int, *, name: str = "tiny") -> CheckpointAudit:
    save_model(model, tiny_tokenizer(), where / f"{step}")
    return audit_checkpoint(
        where / f"{step}", {lang: SENTENCES for lang in ("en", "es")},
        model=name, step=step, n_sentences=200, max_length=32, device="cpu",
    )  # fmt: skip


def by_cell(*audits: CheckpointAudit) -> dict[tuple[str, int], CheckpointAudit]:
    return {(audit.model, audit.step): audit for audit in audits}


def write(path: Path, groups: dict[str, CheckpointAudit]) -> Path:
    with atomic_h5(path, kind=KIND) as file:
        for name, audit in groups.items():
            write_audit(file.create_group(name), audit)
    return path


def blend(first: object, last: object, share: float) -> object:
    """Weights on the straight line between two models."""
    model = copy.deepcopy(first)
    with torch.no_grad():
        for own, a, b in zip(model.parameters(), first.parameters(), last.parameters(), strict=True):
            own.copy_((1 - share) * a + share * b)
    return model


@pytest.fixture(scope="module")
def path_of_models() -> list[object]:
    """Models along a straight line."""
    ends = [tiny_model("bloom", seed=seed) for seed in (0, 1)]
    return [blend(*ends, share) for share in np.linspace(0.1, 0.6, 7)]


def test_a_healthy_series_of_real_files(path_of_models: list[object], tmp_path: Path) -> None:
    audits = [audited(model, tmp_path, 2**at) for at, model in enumerate(path_of_models)]
    # The losses of these models mean nothing; the weights are what is judged here.
    audit, losses = collect_audit(by_cell(*map(without_losses, audits)))
    assert not audit["flag"].any()
    assert audit["step"].tolist() == [2**at for at in range(7)]
    assert audit["previous_step"].tolist()[1:] == audit["step"].tolist()[:-1]
    for row in audit.iloc[1:].itertuples():
        models = [path_of_models[int(np.log2(step))] for step in (row.previous_step, row.step)]
        a, b = (torch.cat([p.flatten() for p in m.transformer.parameters() if p.ndim >= 2]) for m in models)
        assert row.distance_to_previous == pytest.approx(
            float((a - b).norm().detach() / a.norm().detach()), rel=0.01
        )
    assert losses.empty


def without_losses(audit: CheckpointAudit) -> CheckpointAudit:
    return dataclasses.replace(audit, losses={}, no_loss="an encoder has no causal loss")


def test_planted_faults_in_real_files(path_of_models: list[object], tmp_path: Path) -> None:
    models = list(path_of_models)
    models[2] = tiny_model("bloom", seed=77)  # drawn anew
    models[5] = models[1]  # a duplicate
    broken = copy.deepcopy(models[3])
    with torch.no_grad():
        broken.transformer.word_embeddings.weight[5, 5] = torch.nan
    models[3] = broken
    audits = [without_losses(audited(model, tmp_path, 2**at)) for at, model in enumerate(models)]
    audit, _ = collect_audit(by_cell(*audits), known_faults={"tiny": {8: "said to be broken (a link)"}})
    found = audit.set_index("step")
    assert found.loc[4, "kinds"] == "distance"
    assert found.loc[8, "kinds"] == "nonfinite"
    assert "word_embeddings.weight" in found.loc[8, "reasons"]
    assert found.loc[8, "known_fault"] == "said to be broken (a link)"
    assert found.loc[32, "kinds"] == "duplicate"
    assert found.loc[32, "digest"] == found.loc[2, "digest"]
    assert found.index[found["flag"]].tolist() == [4, 8, 32]


def test_exchanged_real_files(path_of_models: list[object], tmp_path: Path) -> None:
    models = list(path_of_models)
    models[2], models[4] = models[4], models[2]
    audits = [without_losses(audited(model, tmp_path, 2**at)) for at, model in enumerate(models)]
    audit, _ = collect_audit(by_cell(*audits))
    assert audit.loc[audit["flag"], ["step", "kinds"]].to_numpy().tolist() == [[4, "swap"], [16, "swap"]]


def test_losses_are_collected_with_their_errors(path_of_models: list[object], tmp_path: Path) -> None:
    audits = [audited(path_of_models[at], tmp_path, at) for at in (3, 0)]
    audit, losses = collect_audit(by_cell(*audits))
    assert losses[["step", "lang"]].to_numpy().tolist() == [[0, "en"], [0, "es"], [3, "en"], [3, "es"]]
    held = heldout_loss(
        load_checkpoint(tmp_path / "3", device="cpu"),
        choose_sentences(SENTENCES, 200),
        max_length=32,
        where="x",
    )
    row = losses.iloc[3]
    assert (row["loss"], row["loss_se"]) == pytest.approx((held.loss, held.loss_se))
    assert (row["n_sentences"], row["n_tokens"]) == (len(SENTENCES), held.tokens_N.sum())
    assert audit["mean_loss"].iloc[1] == pytest.approx(held.loss)


def test_what_cannot_run_has_no_finite_loss(path_of_models: list[object], tmp_path: Path) -> None:
    broken = copy.deepcopy(path_of_models[1])
    with torch.no_grad():
        broken.transformer.ln_f.weight[0] = torch.inf
    audits = audited(path_of_models[0], tmp_path, 1), audited(broken, tmp_path, 2)
    audit, losses = collect_audit(by_cell(*audits))
    assert audit["flag"].tolist() == [False, True]
    assert "the loss is no finite number in en, es" in audit["reasons"][1]
    assert losses["loss"].isna().tolist() == [False, False, True, True]


def test_an_encoder_has_no_loss_and_says_why(tmp_path: Path) -> None:
    save_model(tiny_model("xlm-roberta"), tiny_tokenizer(), tmp_path)
    found = audit_checkpoint(tmp_path, {"en": SENTENCES}, model="m", step=1, n_sentences=3, max_length=32)
    audit, losses = collect_audit(by_cell(found))
    assert losses.empty
    assert audit.loc[0, "no_loss"] == "an encoder has no causal loss"
    assert np.isnan(audit.loc[0, "mean_loss"])


def test_a_manifest_that_cannot_be_read_is_named(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "fetched"
    shutil.copytree(folder, place)
    (place / "fetched.json").write_text("{")
    with pytest.raises(DataError, match=r"fetched\.json: is damaged"):
        audit_checkpoint(place, {"en": SENTENCES}, model="m", step=1, n_sentences=3, max_length=32)


def test_the_hubs_commit_is_kept(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "fetched"
    shutil.copytree(folder, place)
    write_manifest(place, Manifest(repo="a/b", revision="step1", commit="c0ffee"))
    found = audit_checkpoint(
        place, {"en": SENTENCES}, model="m", step=1, n_sentences=3, max_length=32, device="cpu"
    )
    audit, _ = collect_audit(audit_files([write(tmp_path / "audit.h5", {"1": found})]))
    assert audit.loc[0, ["repo", "revision", "commit"]].tolist() == ["a/b", "step1", "c0ffee"]


def test_tables_survive_the_disk(path_of_models: list[object], tmp_path: Path) -> None:
    audit, losses = collect_audit(by_cell(audited(path_of_models[0], tmp_path, 1)))
    for table, name in ((audit, "audit.tsv"), (losses, "audit_losses.tsv")):
        write_table(table, tmp_path / name)
        assert list(read_table(tmp_path / name).columns) == list(table.columns)
    assert read_table(tmp_path / "audit.tsv")["flag"].tolist() == [False]


# ------------------------------------------------------------------------------------------ files


def test_a_file_holds_several_steps(path_of_models: list[object], tmp_path: Path) -> None:
    audits = [audited(path_of_models[at], tmp_path, step) for at, step in enumerate((8, 16, 128))]
    together = write(tmp_path / "tiny.h5", {str(audit.step): audit for audit in audits[:2]})
    alone = write(tmp_path / "128.h5", {"128": audits[2]})
    found = audit_files([together, alone])
    assert set(found) == {("tiny", 8), ("tiny", 16), ("tiny", 128)}
    for audit in audits:
        for part in dataclasses.fields(audit):
            again, given = (getattr(each, part.name) for each in (found["tiny", audit.step], audit))
            if part.name == "losses":
                assert list(again) == list(given)
                for lang in given:
                    for name, value in vars(given[lang]).items():
                        assert np.array_equal(getattr(again[lang], name), value)
            else:
                assert np.array_equal(again, given), part.name
    for one, other in zip(collect_audit(found), collect_audit(by_cell(*audits)), strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_equal_audits_give_equal_bytes(path_of_models: list[object], tmp_path: Path) -> None:
    first, second = (
        write(tmp_path / f"{name}.h5", {"1": audited(path_of_models[0], tmp_path / name, 1)}) for name in "ab"
    )
    assert first.read_bytes() == second.read_bytes()


def test_a_group_that_is_of_another_step_is_refused(path_of_models: list[object], tmp_path: Path) -> None:
    file = write(tmp_path / "audit.h5", {"2": audited(path_of_models[0], tmp_path, 1)})
    with pytest.raises(StoreError, match=r"audit\.h5: its group 2 says that it is of model tiny, step 1"):
        audit_files([file])


def test_two_audits_of_one_step_are_refused(path_of_models: list[object], tmp_path: Path) -> None:
    file = write(tmp_path / "audit.h5", {"1": audited(path_of_models[0], tmp_path, 1)})
    with pytest.raises(DataError, match="model tiny, step 1 has another audit"):
        audit_files([file, file])


def test_a_damaged_file_is_named(path_of_models: list[object], tmp_path: Path) -> None:
    damaged = tmp_path / "audit.h5"
    damaged.write_bytes(b"no")
    with pytest.raises(StoreError, match=r"audit\.h5"):
        audit_files([damaged])
    file = write(tmp_path / "other.h5", {"1": audited(path_of_models[0], tmp_path, 1)})
    with h5py.File(file, "r+") as opened:
        del opened["1/sketch_M"]
    with pytest.raises(StoreError, match=r"other\.h5: group /1 is damaged"):
        audit_files([file])


# ------------------------------------------------------------------------- which files are audited


def stale_index(folder: Path, other: Path) -> None:
    """Of an upload in shards that a single file has replaced."""
    for file in other.glob("model*"):
        shutil.copyfile(file, folder / file.name)


def consolidated(folder: Path, other: Path) -> None:
    shutil.copyfile(next(other.glob("*.safetensors")), folder / "consolidated.safetensors")


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize(
    ("shards", "beside"),
    [(False, stale_index), (False, consolidated), (True, consolidated)],
    ids=["a stale index", "consolidated", "consolidated beside shards"],
)
def test_what_is_audited_is_what_is_loaded(tmp_path: Path, shards: bool, beside: Callable[..., None],
                                           broken: bool) -> None:  # fmt: skip
    """With other weights beside those that transformers loads; and with NaN in one or the other."""
    used, other = tiny_model("bloom"), tiny_model("bloom", seed=5)
    with torch.no_grad():
        (used if broken else other).transformer.ln_f.weight[0] = torch.nan
    used.save_pretrained(tmp_path / "alone", max_shard_size="20KB" if shards else "1GB")
    other.save_pretrained(tmp_path / "other", max_shard_size="1GB" if shards else "20KB")
    tiny_tokenizer().save_pretrained(tmp_path / "alone")
    folder = shutil.copytree(tmp_path / "alone", tmp_path / "both")
    beside(folder, tmp_path / "other")

    loaded = load_checkpoint(folder, device="cpu")
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value.nan_to_num(7.0), used.state_dict()[name].nan_to_num(7.0))
    found = audit_checkpoint(
        folder, {"en": SENTENCES}, model="m", step=1, n_sentences=3, max_length=32, device="cpu"
    )
    assert (found.n_nonfinite > 0) is broken
    assert found.digest == measure_weights(tmp_path / "alone").digest
    assert found.weights_hash == loaded.weights_hash == weights_hash(tmp_path / "alone")
    assert count_parameters(folder) == count_parameters(tmp_path / "alone")
