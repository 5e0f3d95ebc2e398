"""Checks of a model that a user brings: every architecture passes, and what is wrong is found."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import torch

from babelscope.analysis import model_checks
from babelscope.analysis.model_checks import check_model
from babelscope.cli import main
from babelscope.models.architectures import SITES, is_encoder
from babelscope.models.hooks import ModuleEnd
from tiny_models import CONFIGS, tiny_loaded, tiny_model, tiny_tokenizer

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {
    "en": ["the house is red .", "water flows in the big river near a house ."],
    "es": ["la casa es roja .", "agua"],
}


def by_check(found):
    return {one.check: one for one in found}


@pytest.mark.parametrize("architecture", CONFIGS)
def test_every_architecture_passes(architecture):
    loaded = tiny_loaded(architecture)
    found = by_check(check_model(loaded, TEXTS))
    assert {one.level for one in found.values()} == {"ok"}
    assert {f"site {site}" for site in SITES} <= set(found)
    assert ("order" in found) != is_encoder(loaded.config)


def test_a_model_that_looks_ahead_is_no_causal_one(monkeypatch):
    loaded = tiny_loaded("gpt2")
    plain = loaded.model.forward

    def looks_ahead(input_ids, attention_mask=None, **more):
        out = plain(input_ids=input_ids, attention_mask=attention_mask, **more)
        out.logits = out.logits + input_ids[:, -1:, None]
        return out

    monkeypatch.setattr(loaded.model, "forward", looks_ahead)
    assert by_check(check_model(loaded, TEXTS))["order"].level == "problem"


def test_a_hook_that_does_not_run_is_found(monkeypatch):
    loaded = tiny_loaded("gpt2")
    monkeypatch.setattr(model_checks, "force_units", lambda model, held: torch.inference_mode())
    found = by_check(check_model(loaded, TEXTS))
    assert found["site mlp_act"].level == "problem"
    assert "was held at" in found["site mlp_act"].what


def test_a_site_of_another_width_is_found(monkeypatch):
    loaded = tiny_loaded("gpt2")
    blocks = loaded.model.transformer.h
    monkeypatch.setattr(
        model_checks,
        "site_modules",
        lambda model, site, layer: [ModuleEnd(blocks[layer - 1].mlp.c_proj, "out")],
    )
    assert "its config says" in by_check(check_model(loaded, TEXTS))["site mlp_act"].what


def test_units_that_change_nothing_are_named():
    loaded = tiny_loaded("gpt2")
    with torch.no_grad():
        loaded.model.transformer.h[1].mlp.c_proj.weight.zero_()
    found = by_check(check_model(loaded, TEXTS))["site mlp_act"]
    assert found.level == "warning"
    assert "in layers 2 holding some changes no logit" in found.what


def test_a_tokenizer_that_does_not_know_a_language_is_told():
    found = by_check(check_model(tiny_loaded("gpt2"), {**TEXTS, "zh": ["\u6c34 \u5728 \u6cb3"]}))["tokenizer"]
    assert found.level == "warning"
    assert found.what.endswith("unknown tokens: zh 100%")


def test_the_command_says_what_holds_and_what_nobody_can_know(tmp_path, capsys):
    tiny_model("gpt2").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert main(["check-model", str(tmp_path), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "held at values and read back" in said
    told, _, untold = said.partition("guaranteed of this checkpoint (transformers ")[2].partition(
        "not checked"
    )
    assert "does not depend on what else stands in its batch" in told
    assert "units at mlp_act, mlp_in, mlp_out, attn_qkv, attn_out, resid are those" in told
    assert "letters of these languages" not in told  # the tiny tokenizer knows few words
    assert "that units mean anything" in untold
    assert re.search(r"memory +a job that reads 1,000 sentences takes about 5\d\d", said)
    (tmp_path / "model.safetensors").unlink()
    assert main(["check-model", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "problem" in said
    assert "guaranteed" not in said


def test_the_page_of_models_says_what_is_checked_today():
    spec = importlib.util.spec_from_file_location("make_models", ROOT / "docs/make_models.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert (ROOT / "docs/models.md").read_text(encoding="utf-8") == maker.page(), "renew it with `make docs`"
