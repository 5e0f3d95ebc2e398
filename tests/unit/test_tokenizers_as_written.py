"""What is loaded cuts text as ``tokenizer.json`` says, whatever class transformers would take for the model."""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from babelscope.errors import DataError
from babelscope.models.architectures import ARCHITECTURES
from babelscope.models.checkpoints import PROBES, load_checkpoint, load_tokenizer, save_model
from babelscope.models.tokenizer_files import cut_hash
from babelscope.study.models import LocalSeries
from babelscope.study.series import check_checkpoints
from tiny_models import tiny_model, tiny_tokenizer

SPECIAL = ["<s>", "</s>", "<unk>", "<pad>"]
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def _byte_pairs() -> tuple[Tokenizer, trainers.Trainer]:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return made, trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet)


def _unigrams() -> tuple[Tokenizer, trainers.Trainer]:
    made = Tokenizer(models.Unigram())
    made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    return made, trainers.UnigramTrainer(vocab_size=350, special_tokens=SPECIAL, unk_token="<unk>")


def _word_pieces() -> tuple[Tokenizer, trainers.Trainer]:
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made, trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIAL)


KINDS = {"byte pairs": _byte_pairs, "unigrams": _unigrams, "word pieces": _word_pieces}


@cache
def written(kind: str) -> Tokenizer:
    """A tokenizer that was learnt from texts of every kind."""
    made, trainer = KINDS[kind]()
    made.train_from_iterator([*PROBES, "the house is red and the dog is big"], trainer)
    return made


def named(model_type: str) -> str:
    """The class of transformers for a model type; empty if it has none."""
    known = TOKENIZER_MAPPING_NAMES.get(model_type)
    return (known if isinstance(known, str) else next(filter(None, known or ()), "")) or ""


#: A model type for each class of tokenizers, and all whose models are run here.
TYPES = sorted({*{named(each): each for each in sorted(TOKENIZER_MAPPING_NAMES)}.values(), *ARCHITECTURES})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("told", [False, True], ids=["nothing else", "its class"])
def test_every_class_cuts_as_the_file_says(tmp_path, kind, told):
    written(kind).save(str(tmp_path / "tokenizer.json"))
    for model_type in ARCHITECTURES if told else TYPES:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        if told:
            settings = {"tokenizer_class": named(model_type) or "PreTrainedTokenizerFast", **NAMES}
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        loaded = load_tokenizer(tmp_path)
        for text in PROBES:
            expected = written(kind).encode(text, add_special_tokens=False).ids
            assert loaded(text, add_special_tokens=False)["input_ids"] == expected, model_type
        assert loaded.get_vocab() == written(kind).get_vocab(), model_type


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory):
    """The tokenizer of a Qwen2 folder, whose class cuts otherwise, and that of the file alone."""
    folder = tmp_path_factory.mktemp("qwen2")
    written(request.param).save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    return load_tokenizer(folder), written(request.param)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_any_text_is_cut_as_the_file_says(pair, text):
    loaded, alone = pair
    assert (
        loaded(text, add_special_tokens=False)["input_ids"]
        == alone.encode(text, add_special_tokens=False).ids
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A sound folder."""
    folder = tmp_path_factory.mktemp("model")
    save_model(tiny_model("llama"), tiny_tokenizer(), folder)
    return folder


CASES = yaml.safe_load((Path(__file__).parents[1] / "cases/tokenizers.yaml").read_text(encoding="utf-8"))


def odd(file: Path, what: str) -> None:
    """A name of a tokenizer's file that is something else."""
    if what == "fifo":
        os.mkfifo(file)
    elif what == "folder":
        file.mkdir()
    elif what == "large":
        with file.open("wb") as content:
            content.truncate(2**34)
    else:
        file.symlink_to({"zero": "/dev/zero", "nowhere": "not-there"}[what])


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_what_a_job_would_refuse_is_said_while_planning(model, tmp_path, case, monkeypatch):
    monkeypatch.setattr("babelscope.models.tokenizer_files.find_spec", lambda name: None)
    for name in case.get("keep", ()):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    for name, text in case.get("files", {}).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name, what in case.get("odd", {}).items():
        odd(tmp_path / name, what)
    if "tokens" in case:
        words = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        words.add_tokens([f"new{n}" for n in range(case["tokens"])])
        words.save(str(tmp_path / "tokenizer.json"))
    series = LocalSeries(
        run_id="m", id="m", role="main", batches=((1,),), results="r", data="d", path=str(model),
        tokenizer_path=str(tmp_path),
    )  # fmt: skip
    study = SimpleNamespace(models={"m": series})
    if "says" not in case:
        check_checkpoints(study)
        return
    with pytest.raises(DataError) as caught:
        check_checkpoints(study)
    assert re.search(case["says"], str(caught.value), re.DOTALL), str(caught.value)


@pytest.mark.parametrize("alone", [False, True], ids=["with settings", "nothing but tokenizer.json"])
@pytest.mark.parametrize("saved", ["as it was", "with padding", "with truncation", "with both"])
def test_a_tokenizer_saved_in_use_is_a_good_one(model, tmp_path, saved, alone):
    """It was refused: padding made it another one, or added a token that the model has not."""
    words = Tokenizer.from_file(str(model / "tokenizer.json"))
    if saved in ("with padding", "with both"):
        words.enable_padding(length=64)
    if saved in ("with truncation", "with both"):
        words.enable_truncation(4)
    words.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_bytes((model / "config.json").read_bytes())
    if not alone:
        (tmp_path / "tokenizer_config.json").write_bytes((model / "tokenizer_config.json").read_bytes())
    loaded = load_checkpoint(model, tokenizer=tmp_path, device="cpu")
    text = "the house is red , the river flows near a big house . la casa es roja"
    assert (
        loaded.tokenizer(text, add_special_tokens=False)["input_ids"] == tiny_tokenizer()(text)["input_ids"]
    )
    assert loaded.start_id == 0


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ({"do_lower_case": False}, False),
        ({"strip_accents": True}, False),
        ({"tokenizer_class": "RobertaTokenizer"}, False),
        ({"sep_token": "[CLS]"}, False),
        ({"chat_template": "x", "model_max_length": 7, "name_or_path": "elsewhere"}, True),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_settings_decide_how_a_vocabulary_cuts(tmp_path, changes, alike):
    """Without tokenizer.json; one of another case at one step was taken for the same."""
    usual = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "sep_token": "[SEP]"}
    for name, settings_ in {"one": usual, "other": {**usual, **changes}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nhouse\nHouse\n")
        (tmp_path / name / "tokenizer_config.json").write_text(json.dumps(settings_))
    assert (cut_hash(tmp_path / "one") == cut_hash(tmp_path / "other")) == alike


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("added_tokens.json", {"<new>": 37}),
        ("tokenizer_config.json", {"extra_special_tokens": ["house"]}),
    ],
)
def test_what_transformers_cannot_take_keeps_its_special_tokens(model, tmp_path, name, content):
    """The file alone was used, without them: inputs began with another token, and texts could hold them."""
    for file in model.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = content if name == "added_tokens.json" else {**json.loads((model / name).read_text()), **content}
    (tmp_path / name).write_text(json.dumps(before))
    config = json.loads((model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "bos_token_id": 9}))
    usual, found = load_tokenizer(model), load_tokenizer(tmp_path)
    assert found.all_special_ids == usual.all_special_ids
    assert (found.bos_token_id, found.pad_token_id) == (usual.bos_token_id, usual.pad_token_id)
