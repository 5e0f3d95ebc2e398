"""Faults of single tensors, in checkpoints of a real training: what the audit says of each, and what it misses."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from babelscope.analysis.audit.files import CheckpointAudit
from babelscope.analysis.audit.judge import collect_audit
from babelscope.analysis.audit.weights import audit_checkpoint
from babelscope.models.checkpoints import save_model
from checkpoint_cases import cases, edit
from tiny_models import SENTENCES, tiny_model, tiny_tokenizer

FAULTS = cases("faults")
STEPS = (0, 5, 10, 20, 40, 60, 80, 100)
TEXT = [(f"{a}-{b}", f"{one} {other}") for a, one in SENTENCES for b, other in SENTENCES]
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_key_value_heads": 4}


def trained(folder: Path, *, steps=STEPS, dtype=torch.float32, restart: int = 0, noise: float = 0.0) -> Path:
    """A short training; ``restart`` returns to the largest learning rate at a step."""
    torch.manual_seed(0)
    model, tokenizer = tiny_model("llama", scale=0.1, **SIZES), tiny_tokenizer()
    with torch.no_grad():  # norms begin at 1, as they do
        for name, weights in model.named_parameters():
            if "norm" in name:
                weights.fill_(1)
    ids = tokenizer([words for _, words in TEXT], padding=True, return_tensors="pt")["input_ids"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(max(steps) + 1):
        if step in steps:
            save_model(copy.deepcopy(model).to(dtype), tokenizer, folder / str(step))
        rate = 3e-3 * (1 - (step - restart * (step >= restart)) / (max(steps) + 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = ids[torch.randint(len(ids), (8,))]
        model(rows, labels=rows.masked_fill(rows == 2, -100)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return folder


def audits(folder: Path, steps=STEPS) -> dict[tuple[str, int], CheckpointAudit]:
    return {
        ("m", step): audit_checkpoint(
            folder / str(step),
            {"en": TEXT},
            model="m",
            step=step,
            n_sentences=49,
            max_length=40,
            device="cpu",
        )
        for step in steps
    }


def kinds(found: dict[tuple[str, int], CheckpointAudit]) -> dict[int, str]:
    """What is said of each step that is flagged."""
    table, _ = collect_audit(found)
    return {row.step: f"{row.kinds}: {row.reasons}" for row in table[table["flag"]].itertuples()}


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("series"))


@pytest.fixture(scope="module")
def sound(series) -> dict[tuple[str, int], CheckpointAudit]:
    """The audits of the series; a step is audited by itself, so those of other steps stay."""
    return audits(series)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_the_audit_says_of_a_fault(series, sound, tmp_path, fault):
    folder = tmp_path / "series"
    shutil.copytree(series, folder)  # faults take tensors of other steps
    fault.spoil(folder / "40")
    found = kinds({**sound, **audits(folder, (40,))})
    if not fault.expected:
        assert found == {}
        return
    assert list(found) == [40], found
    assert re.search(fault.expected.replace("(", r"\(").replace(")", r"\)"), found[40]), found[40]


def test_a_sound_series_is_not_flagged(sound):
    assert kinds(sound) == {}


@pytest.mark.parametrize(
    "how",
    [
        {"dtype": torch.bfloat16},
        {"dtype": torch.float16},
        {"restart": 50},
        {"steps": tuple(range(0, 40, 3))},
        {"steps": (0, 1, 2, 4, 8, 16, 32, 64, 128)},
    ],
    ids=str,
)
def test_other_sound_series_are_not_flagged(tmp_path, how):
    """In 16 bits, with a restart of the learning rate, with steps close together and ever farther apart."""
    assert kinds(audits(trained(tmp_path, **how), how.get("steps", STEPS))) == {}


def test_another_tokenizer_at_one_step_is_flagged(series, sound, tmp_path):
    """As in steps that were fetched, which planning cannot compare."""
    shutil.copytree(series / "60", tmp_path / "60")
    file = tmp_path / "60/tokenizer.json"
    content = json.loads(file.read_text())
    words = content["model"]["vocab"]
    words["house"], words["water"] = words["water"], words["house"]
    file.write_text(json.dumps(content))
    found = kinds({**sound, **audits(tmp_path, (60,))})
    assert list(found) == [60]
    assert found[60].startswith(
        "tokenizer: its tokenizer is not that of 7 other steps, 0, 5, 10, 20, 40 among them"
    )


def test_matrices_of_zeros_are_named_and_no_fault_where_a_series_begins_so(series, sound, tmp_path):
    shutil.copytree(series / "0", tmp_path / "0")
    for layer in (0, 1):
        name = f"model.layers.{layer}.mlp.down_proj.weight"
        edit(tmp_path / "0", lambda tensors, name=name: tensors[name].zero_())
    table, _ = collect_audit({**sound, **audits(tmp_path, (0,))})
    assert not table["flag"].any()
    assert table.set_index("step")["constant"].to_dict() == {
        **dict.fromkeys(STEPS, ""),
        0: "layers.0.mlp.down_proj.weight, layers.1.mlp.down_proj.weight",
    }
