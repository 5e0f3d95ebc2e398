"""Step 2 of the steps 1, 2, 3 of one series is of another model, or read by another tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

from checkpoint_cases import case, edit
from tiny_models import tiny_model


@case("llama", r"2/config.json: differs from that of step 1: n_layers is 3, not 2; allowed")
def another_number_of_blocks(folder: Path) -> None:
    """A sister of another depth."""
    tiny_model("llama", num_hidden_layers=3).save_pretrained(folder)


@case("llama", r"2/config.json: differs from that of step 1: mlp is 24, not 40")
def another_width(folder: Path) -> None:
    """A sister of another width."""
    tiny_model("llama", intermediate_size=24).save_pretrained(folder)


@case("llama", r"model_type is mistral, not llama")
def another_architecture(folder: Path) -> None:
    """A model of another family with the same sizes."""
    tiny_model("mistral").save_pretrained(folder)


@case(
    "llama", r"2: its tensors differ from those of step 1; the first is model.layers.0.self_attn.k_proj.bias"
)
def biases_at_one_step(folder: Path) -> None:
    """The same sizes, with biases."""
    tiny_model("llama", attention_bias=True).save_pretrained(folder)


@case("llama", r"2: its tokenizer is not that of step 1 \(.*/1\); allowed: one for all steps")
def another_tokenizer_of_the_same_size(folder: Path) -> None:
    """Two words have changed places: every loss and every token is another."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    words = content["model"]["vocab"]
    words["house"], words["water"] = words["water"], words["house"]
    file.write_text(json.dumps(content))


@case("llama", r"2: its tokenizer is not that of step 1")
def another_start_token(folder: Path) -> None:
    """The same words, read behind another first token."""
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "bos_token": "<unk>"}))


@case("llama")
def the_same_tokenizer_written_otherwise(folder: Path) -> None:
    """Another layout, a template and the length of the last cut: no other tokenizer."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["truncation"] = {"direction": "Right", "max_length": 7, "strategy": "LongestFirst", "stride": 0}
    file.write_text(json.dumps(content, indent=3))
    settings = folder / "tokenizer_config.json"
    settings.write_text(
        json.dumps({**json.loads(settings.read_text()), "chat_template": "x", "name_or_path": "y"})
    )


@case("llama")
def another_seed(folder: Path) -> None:
    """Other weights of the same shape: for the audit to judge."""
    edit(folder, lambda tensors: tensors.update({name: 2 * tensor for name, tensor in tensors.items()}))
