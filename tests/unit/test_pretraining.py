"""Pre-training: cutting a run into jobs must not change a bit, and mistakes are named."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from test_tokenization import write_corpus

import babelscope.models.training.loss as training_loss
import babelscope.models.training.run as pretraining
from babelscope.errors import DataError, NumericsError, StudyError
from babelscope.models.architectures import ARCHITECTURES
from babelscope.models.training.loss import NextTokenLoss
from babelscope.models.training.order import WindowOrder
from babelscope.models.training.run import pretrain_steps
from babelscope.models.training.settings import TrainingSettings
from babelscope.text.tokenization import tokenize_corpus, train_tokenizer
from tiny_models import DECODERS, VOCABULARY_SIZE, tiny_model

TINY = {
    "xglm": {"d_model": 16, "num_layers": 2, "attention_heads": 2, "ffn_dim": 32},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "gpt_neox": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    },
    "llama": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    },
}
DROPOUT = {
    "xglm": {"dropout": 0.2, "attention_dropout": 0.1},
    "llama": {"attention_dropout": 0.2},
}
TRAINING = {
    "sequence_length": 16,
    "batch_size": 8,
    "learning_rate": 0.01,
    "warmup_steps": 4,
    "schedule": "linear",
    "decay_steps": 20,
}
SHARES = {"en": 0.4, "ru": 0.2, "hi": 0.2, "zh": 0.2}


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> dict[str, Path]:
    """A tokenizer and the windows of a small corpus."""
    folder = tmp_path_factory.mktemp("text")
    corpus = write_corpus(folder, n=120)
    train_tokenizer(corpus, folder / "tokenizer", vocabulary_size=400)
    tokenize_corpus(corpus, folder / "tokenizer", folder / "tokens.h5", sequence_length=16)
    return {"tokens_h5": folder / "tokens.h5", "tokenizer_dir": folder / "tokenizer"}


def run(text, folder: Path, steps, previous=None, architecture="xglm", config=None, **changes):
    training = changes.pop("training", {})
    if isinstance(training, dict):
        training = TRAINING | training
    arguments = {
        **text,
        "architecture": architecture,
        "architecture_config": {**TINY[architecture], **(config or {})},
        "training": training,
        "seed": 5,
        "shares": SHARES,
        "name": "tiny-seed5",
        "device": "cpu",
        **changes,
    }
    pretrain_steps(
        steps=steps,
        previous=None if previous is None else folder / str(previous),
        out_dirs={step: folder / str(step) for step in steps},
        **arguments,
    )


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(folder / str(step) / "model.safetensors")


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize(
    ("architecture", "config"),
    [("xglm", {}), ("xglm", DROPOUT["xglm"]), ("llama", DROPOUT["llama"])],
    ids=["plain", "dropout", "llama-dropout"],
)
def test_a_run_in_two_jobs_is_the_same_run(text, tmp_path, architecture, config):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(text, whole, [0, 8], architecture=architecture, config=config)
    run(text, parts, [0, 4], architecture=architecture, config=config)
    run(text, parts, [8], previous=4, architecture=architecture, config=config)
    assert_equal(weights(whole, 8), weights(parts, 8))
    for name in ("optimizer.safetensors",):
        a, b = (load_file(f / "8/training" / name) for f in (whole, parts))
        assert_equal(a, b)
    losses = [(f / "8/training/losses.tsv").read_text() for f in (whole, parts)]
    assert losses[0] == losses[1]
    assert not torch.equal(next(iter(weights(whole, 0).values())), next(iter(weights(whole, 8).values())))


def test_only_the_last_step_of_a_job_keeps_the_optimizers_state(text, tmp_path):
    run(text, tmp_path / "whole", [0, 2, 4, 6])
    run(text, tmp_path / "parts", [0, 2, 6])
    assert [path.parts[-3] for path in tmp_path.glob("parts/*/training/optimizer.safetensors")] == ["6"]
    # A step that is put between them later goes on from step 0, and has the weights that it would have had.
    run(text, tmp_path / "parts", [0, 2, 4, 6])
    for step in (2, 4, 6):
        assert_equal(weights(tmp_path / "whole", step), weights(tmp_path / "parts", step))
    # So does one that is put behind them.
    run(text, tmp_path / "whole", [8], previous=6)
    run(text, tmp_path / "parts", [0, 2, 4, 6, 8])
    assert_equal(weights(tmp_path / "whole", 8), weights(tmp_path / "parts", 8))
    assert [path.parts[-3] for path in tmp_path.glob("parts/*/training/optimizer.safetensors")] == ["8"]


def test_dropout_counts(text, tmp_path):
    run(text, tmp_path / "a", [2])
    run(text, tmp_path / "b", [2], config=DROPOUT["xglm"])
    a, b = weights(tmp_path / "a", 2), weights(tmp_path / "b", 2)
    assert any(not torch.equal(a[name], b[name]) for name in a)


def test_another_seed_is_another_run(text, tmp_path):
    run(text, tmp_path / "a", [0])
    run(text, tmp_path / "b", [0], seed=6)
    a, b = weights(tmp_path / "a", 0), weights(tmp_path / "b", 0)
    assert any(not torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("architecture", TINY)
def test_the_folder_is_a_checkpoint(text, tmp_path, architecture):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run(text, tmp_path, [0, 1], architecture=architecture)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "1", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "1", local_files_only=True)
    ids = tokenizer("дом стоит", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        assert model(input_ids=ids).logits.shape == (*ids.shape, len(tokenizer))
    assert model.config.model_type == architecture
    assert model.config.bos_token_id == tokenizer.bos_token_id == ids[0, 0]
    assert {getattr(model.config, name) for name in ARCHITECTURES[architecture].dropouts} == {0.0}
    assert not [file for file in tmp_path.rglob("*") if "tmp" in file.name]


def test_files_are_as_the_umask_says(text, tmp_path):
    """A group that shares its checkpoints must be able to read them."""
    before = os.umask(0o027)
    try:
        run(text, tmp_path, [0, 1])
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.rglob("*") if file.is_file()}
    assert {"model.safetensors", "optimizer.safetensors", "config.json"} <= set(modes)
    assert set(modes.values()) == {0o640}


def test_progress_and_losses(text, tmp_path):
    run(text, tmp_path, [0, 3])
    run(text, tmp_path, [5, 6], previous=3)
    progress = {
        step: json.loads((tmp_path / str(step) / "training/progress.json").read_text())
        for step in (0, 3, 5, 6)
    }
    assert [progress[step]["resumed_from"] for step in progress] == [None, None, 3, 3]
    assert progress[6]["tokens_seen"] == 6 * 8 * 16
    assert progress[6]["seconds"] > progress[3]["seconds"] > 0
    losses = pd.read_csv(tmp_path / "6/training/losses.tsv", sep="\t")
    assert set(losses["lang"]) == set(SHARES)
    assert set(losses["split"]) == {"train", "heldout"}
    assert (losses["step"] == 6).all()
    assert (losses["n_tokens"] % 15 == 0).all()
    first = pd.read_csv(tmp_path / "0/training/losses.tsv", sep="\t")["loss"]
    assert np.allclose(first, math.log(400), atol=0.5)


def test_it_learns(text, tmp_path):
    run(text, tmp_path, [0, 40], training={"decay_steps": 1000})
    before, after = (pd.read_csv(tmp_path / f"{step}/training/losses.tsv", sep="\t") for step in (0, 40))
    assert (after["loss"] < 0.75 * before["loss"]).all()


def test_parts_of_a_batch_give_its_update(text, tmp_path):
    run(text, tmp_path / "one", [1])
    run(text, tmp_path / "four", [1], training={"accumulation": 4})
    a, b = weights(tmp_path / "one", 1), weights(tmp_path / "four", 1)
    # Adam's first step is the gradient's sign, so only gradients near 0 may move differently.
    moved = [torch.isclose(a[name], b[name], atol=1e-5).float().mean().item() for name in a]
    assert np.mean(moved) > 0.98


def test_bfloat16_keeps_float32_weights(text, tmp_path):
    run(text, tmp_path, [2], training={"precision": "bfloat16"})
    assert {w.dtype for w in weights(tmp_path, 2).values()} == {torch.float32}


def test_a_killed_job_goes_on_where_it_was(text, tmp_path, monkeypatch):
    whole, parts, scratch = tmp_path / "whole", tmp_path / "parts", tmp_path / "scratch"
    run(text, whole, [0, 3, 9])
    update = pretraining._Run._update
    done = []

    def dies_at_7(self):
        if self.step == 7:
            raise KeyboardInterrupt
        done.append(self.step)
        return update(self)

    monkeypatch.setattr(pretraining._Run, "_update", dies_at_7)
    with pytest.raises(KeyboardInterrupt):
        run(text, parts, [0, 3, 9], scratch=scratch, save_minutes=0.0)
    assert done == [1, 2, 3, 4, 5, 6]

    def counts(self):
        done.append(self.step)
        return update(self)

    done.clear()
    monkeypatch.setattr(pretraining._Run, "_update", counts)
    run(text, parts, [0, 3, 9], scratch=scratch)
    assert done == [7, 8, 9]
    assert not scratch.exists()
    for step in (0, 3, 9):
        assert_equal(weights(whole, step), weights(parts, step))
        progress = json.loads((parts / f"{step}/training/progress.json").read_text())
        assert (progress["step"], progress["resumed_from"]) == (step, None)
        assert (parts / f"{step}/training/losses.tsv").exists()


def test_whole_steps_are_taken_over_and_the_others_trained(text, tmp_path, monkeypatch):
    run(text, tmp_path / "whole", [0, 2, 3, 6])
    run(text, tmp_path, [0, 3])
    update, done = pretraining._Run._update, []

    def counts(self):
        done.append(self.step)
        return update(self)

    monkeypatch.setattr(pretraining._Run, "_update", counts)
    times = {step: (tmp_path / f"{step}/model.safetensors").stat().st_mtime_ns for step in (0, 3)}
    run(text, tmp_path, [0, 2, 3, 6])
    assert done == [1, 2, 4, 5, 6]
    assert times == {step: (tmp_path / f"{step}/model.safetensors").stat().st_mtime_ns for step in (0, 3)}
    for step in (0, 2, 3, 6):
        assert_equal(weights(tmp_path / "whole", step), weights(tmp_path, step))
    for change in ({"version": 2}, {"seed": 9}):
        done.clear()
        run(text, tmp_path, [0, 3], **change)
        assert done == [1, 2, 3]
    done.clear()
    weights_file = tmp_path / "3/model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:-10])  # cut off, so not whole
    run(text, tmp_path, [0, 3], seed=9)
    assert done == [1, 2, 3]


def test_scratch_of_other_settings_is_not_used(text, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    monkeypatch.setattr(pretraining.shutil, "rmtree", lambda *_, **__: None)
    run(text, tmp_path / "a", [0, 2], scratch=scratch)
    monkeypatch.undo()
    run(text, tmp_path / "b", [0, 2], scratch=scratch, seed=9)
    run(text, tmp_path / "c", [0, 2], seed=9)
    assert_equal(weights(tmp_path / "b", 2), weights(tmp_path / "c", 2))


def test_a_previous_step_of_other_settings_is_refused(text, tmp_path):
    run(text, tmp_path, [1])
    with pytest.raises(DataError, match="other settings or text than model tiny-seed5"):
        run(text, tmp_path, [2], previous=1, training={"learning_rate": 0.02})


def test_a_step_without_moments_is_refused(text, tmp_path):
    run(text, tmp_path, [1])
    from safetensors.torch import save_file

    save_file({"none": torch.zeros(0)}, tmp_path / "1/training/optimizer.safetensors")
    with pytest.raises(DataError, match="lacks"):
        run(text, tmp_path, [2], previous=1)


def test_a_loss_that_is_not_finite_stops_the_run(text, tmp_path):
    diverges = {"learning_rate": 1e30, "warmup_steps": 0, "clip_norm": None}  # more than a study may say
    training = TrainingSettings(**TRAINING).model_copy(update=diverges)
    with pytest.raises(NumericsError, match=r"model tiny-seed5, step \d+: the loss is (nan|inf)"):
        run(text, tmp_path, [0, 50], training=training)
    assert not (tmp_path / "50").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"config": {"n_layers": 3}},
            r"models.tiny.architecture_config.n_layers`: got 3; .*d_model",
        ),
        ({"config": {"max_position_embeddings": 8}}, "room for training.sequence_length, 16"),
        ({"training": {"accumulation": 3}}, "a divisor of batch_size, 8"),
        ({"training": {"sequence_length": 32}}, "the length of the windows, 16"),
        ({"training": {"schedule": "cosine"}}, "constant, inverse_sqrt, linear"),
        ({"training": {"decay_steps": None}}, "decay_steps"),
        ({"training": {"precision": "float16"}}, "float32, bfloat16"),
        ({"shares": {"en": 1.0, "fr": 1.0}}, r"\['fr'\]"),
    ],
)
def test_wrong_settings_are_named(text, tmp_path, changes, message):
    with pytest.raises(StudyError, match=message):
        run(text, tmp_path, [0], **changes)


def test_learning_rates():
    base = {"sequence_length": 16, "batch_size": 8, "learning_rate": 1.0, "warmup_steps": 4}
    linear = TrainingSettings(**base, schedule="linear", decay_steps=12, final_lr_share=0.5)
    assert [linear.learning_rate_at(s) for s in (1, 4, 8, 12, 99)] == [0.25, 1, 0.75, 0.5, 0.5]
    root = TrainingSettings(**base, schedule="inverse_sqrt")
    assert [root.learning_rate_at(s) for s in (2, 4, 16)] == [0.5, 1, 0.5]
    constant = TrainingSettings(**{**base, "warmup_steps": 0}, schedule="constant")
    assert [constant.learning_rate_at(s) for s in (1, 100)] == [1, 1]


def test_the_order_of_windows_is_a_function_of_place():
    sizes, shares = {"a": 7, "b": 30, "c": 4}, {"a": 0.5, "b": 0.25, "c": 0.25}
    whole = WindowOrder(sizes, shares, seed=1).take(400)
    order = WindowOrder(sizes, shares, seed=1)
    parts = [window for n in (1, 60, 39, 300) for window in order.take(n)]
    assert parts == whole
    order.seek(123)
    assert order.take(77) == whole[123:200]
    rows = [row for lang, row in whole if lang == "a"]
    for start in range(0, len(rows) - 7, 7):
        assert sorted(rows[start : start + 7]) == list(range(7)), "an epoch has each window once"
    assert rows[:7] != rows[7:14]
    share = np.mean([lang == "a" for lang, _ in WindowOrder(sizes, shares, seed=1).take(4000)])
    assert share == pytest.approx(0.5, abs=0.03)
    # Listing the languages in another order, or other shares, leaves each language's own order.
    other = WindowOrder(sizes, {"c": 0.1, "b": 0.1, "a": 0.8}, seed=1).take(400)
    again = [row for lang, row in other if lang == "a"]
    assert again[: len(rows)] == rows[: len(again)]


@pytest.mark.parametrize("architecture", DECODERS)
def test_the_loss_by_parts_is_the_models_own(architecture, monkeypatch):
    monkeypatch.setattr(training_loss, "_MIN_TOKENS", 3)  # several parts, the last one smaller
    monkeypatch.setattr(training_loss, "_LOGITS_AT_ONCE", 1)
    ids = torch.randint(4, VOCABULARY_SIZE, (3, 7), generator=torch.Generator().manual_seed(0))
    found = {}
    for whole in (False, True):
        model = tiny_model(architecture)
        loss = NextTokenLoss(model, whole=whole)
        assert loss.whole == (whole or architecture == "gemma2"), "Gemma 2 caps its logits"
        value = loss(ids)
        (value / 2).backward()
        found[whole] = value.item(), {name: weights.grad for name, weights in model.named_parameters()}
    assert found[False][0] == pytest.approx(found[True][0], rel=1e-5)
    for name, gradient in found[True][1].items():
        if gradient is None:
            assert found[False][1][name] is None
        else:
            assert torch.allclose(found[False][1][name], gradient, rtol=1e-3, atol=1e-5), name


def test_a_loss_by_parts_can_be_large():
    """Logits may lie far apart: the share of the right token is 0 in float32, its loss is not."""
    states, weights = torch.tensor([[200.0]], requires_grad=True), torch.tensor([[1.0], [0.0]])
    loss = training_loss._HeadLoss.apply(states, weights.requires_grad_(), torch.tensor([1]))
    assert loss.item() == 200.0
