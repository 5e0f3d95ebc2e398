"""Tokenizers and windows: texts come back whole, every script has its share, equal gives equal."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from babelscope.capture.inputs import encode_sentences
from babelscope.errors import DataError, StoreError, StudyError
from babelscope.text.tokenization import (
    language_shares,
    open_windows,
    tokenize_corpus,
    tokenizer_json_hash,
    train_tokenizer,
)
from tiny_models import tiny_loaded

WORDS = {
    "en": [
        "the",
        "house",
        "stands",
        "near",
        "a",
        "river",
        "and",
        "water",
        "flows",
        "under",
        "old",
        "bridge",
        "1984",
        ",",
    ],
    "ru": ["дом", "стоит", "у", "реки", "и", "вода", "течёт", "под", "старым", "мостом"],
    "hi": ["घर", "नदी", "के", "पास", "है", "और", "पानी", "पुल", "के", "नीचे", "बहता", "है"],
    "zh": ["房子", "站在", "河边", "水", "在", "旧桥", "下面", "流过", "。"],
}


def write_corpus(folder: Path, n: int = 400, sizes: dict[str, int] | None = None) -> dict[str, Path]:
    """Random documents of the words above, one in ten held out."""
    files = {}
    for number, (lang, words) in enumerate(WORDS.items()):
        rng = np.random.default_rng(number)
        files[lang] = folder / f"{lang}.jsonl"
        with files[lang].open("w", encoding="utf-8") as out:
            for i in range((sizes or {}).get(lang, n)):
                chosen = rng.choice(words, size=rng.integers(5, 12))
                text = ("" if lang == "zh" else " ").join(chosen)
                split = "heldout" if i % 10 == 0 else "train"
                out.write(json.dumps({"text": text, "split": split}, ensure_ascii=False) + "\n")
    return files


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> dict[str, Path]:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def tokenizer_dir(corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(corpus, folder, vocabulary_size=600, seed=3)
    return folder


TEXTS = [
    "the house 1984, near",
    "дом стоит у реки",
    "घर नदी के पास है",
    "房子站在河边。",
    "never seen: žluťoučký 🐎 كتاب",
    "",
]


def test_a_text_comes_back_whole(tokenizer_dir):
    tokenizer = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    for text in TEXTS:
        encoded = tokenizer.encode(text)
        assert encoded.tokens[0] == "<s>"
        assert "<unk>" not in encoded.tokens
        assert tokenizer.decode(encoded.ids) == text


def test_every_script_gets_pieces_longer_than_a_character(tokenizer_dir):
    tokenizer = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    for text in TEXTS[:4]:
        tokens = tokenizer.encode(text).tokens[1:]
        assert not any(token.startswith("<0x") for token in tokens)
        assert len(tokens) < 0.8 * len(text)


def test_digits_and_punctuation_stand_alone(tokenizer_dir):
    tokenizer = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    assert tokenizer.encode("1984, near").tokens[1:7] == ["▁", "1", "9", "8", "4", ","]


def test_a_small_language_does_not_starve(tmp_path):
    corpus = write_corpus(tmp_path, sizes={"en": 2000, "ru": 60, "hi": 60, "zh": 60})
    train_tokenizer(corpus, tmp_path / "t", vocabulary_size=600, seed=0)
    tokenizer = Tokenizer.from_file(str(tmp_path / "t/tokenizer.json"))
    assert len(tokenizer.encode("дом стоит у реки").tokens) <= 7


def test_transformers_reads_the_same_tokenizer(tokenizer_dir, tmp_path):
    from transformers import AutoConfig, AutoTokenizer

    ours = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    for file in tokenizer_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for architecture in ("xglm", "bloom", "llama"):
        AutoConfig.for_model(architecture).save_pretrained(tmp_path)
        theirs = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
        for text in TEXTS:
            assert theirs(text)["input_ids"] == ours.encode(text).ids
            assert theirs.decode(theirs(text)["input_ids"], skip_special_tokens=True) == text
        assert [theirs.bos_token, theirs.eos_token, theirs.pad_token] == ["<s>", "</s>", "<pad>"]
        assert len(theirs) == ours.get_vocab_size()


def test_another_process_writes_the_same_bytes(corpus, tokenizer_dir, tmp_path):
    script = (
        "import sys, json; from pathlib import Path\n"
        "from babelscope.text.tokenization import train_tokenizer\n"
        "files = {k: Path(v) for k, v in json.loads(sys.argv[1]).items()}\n"
        "train_tokenizer(files, Path(sys.argv[2]), vocabulary_size=600, seed=3)\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    reordered = {lang: str(corpus[lang]) for lang in sorted(corpus, reverse=True)}
    subprocess.run(
        [sys.executable, "-c", script, json.dumps(reordered), str(tmp_path)],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "5"},
    )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (tokenizer_dir / name).read_bytes()


def test_a_vocabulary_without_room_is_refused(corpus, tmp_path):
    with pytest.raises(StudyError, match=r"vocabulary_size.*got 300; allowed: at least 324"):
        train_tokenizer(corpus, tmp_path, vocabulary_size=300)


def test_windows_begin_with_documents_and_are_cut(corpus, tokenizer_dir, tmp_path):
    path = tmp_path / "tokens.h5"
    tokenize_corpus(corpus, tokenizer_dir, path, sequence_length=16)
    windows = open_windows(path)
    tokenizer = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    start = tokenizer.token_to_id("<s>")
    documents = [json.loads(line) for line in corpus["ru"].open(encoding="utf-8")]
    expected, window = [], []
    for document in documents:
        if document["split"] == "train":
            window += tokenizer.encode(document["text"]).ids
            if len(window) >= 16:
                expected.append(window[:16])
                window = []
    assert windows.train["ru"].tolist() == expected
    assert (windows.train["ru"][:, 0] == start).all()
    assert windows.heldout["ru"].shape[1] == 16
    assert len(windows.heldout["ru"]) > 0
    assert windows.tokenizer_hash == tokenizer_json_hash(tokenizer_dir)
    with h5py.File(path) as file:
        group = file["ru/train"]
        assert group.attrs["n_documents"] == 360
        assert group.attrs["n_tokens"] * group.attrs["kept_share"] == pytest.approx(len(expected) * 16)
    assert list(tmp_path.iterdir()) == [path]


def test_the_width_of_ids_changes_no_window(corpus, tokenizer_dir, tmp_path, monkeypatch):
    """The hash by which training goes on is that of the ids, not of how they are kept."""
    tokenize_corpus(corpus, tokenizer_dir, tmp_path / "narrow.h5", sequence_length=16)
    monkeypatch.setattr("babelscope.text.tokenization.SMALL_VOCABULARY", 10)
    tokenize_corpus(corpus, tokenizer_dir, tmp_path / "wide.h5", sequence_length=16)
    narrow, wide = open_windows(tmp_path / "narrow.h5"), open_windows(tmp_path / "wide.h5")
    assert narrow.tokens_hash == wide.tokens_hash
    for lang in corpus:
        assert (narrow.train[lang].dtype, wide.train[lang].dtype) == (np.uint16, np.int32)
        np.testing.assert_array_equal(narrow.train[lang], wide.train[lang])


def test_special_tokens_come_by_id_alone(corpus, tokenizer_dir, tmp_path):
    """A document that holds how one is written holds these characters, here and as a sentence to analyse."""
    path = tmp_path / "en.jsonl"
    spelt = "the end </s> and <s> once more <pad> or <unk> <0x41>"
    rows = [{"text": spelt, "split": "train"}] * 40 + [{"text": "a house", "split": "heldout"}] * 40
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenize_corpus({"en": path}, tokenizer_dir, tmp_path / "t.h5", sequence_length=16)
    tokenizer = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    windows = open_windows(tmp_path / "t.h5").train["en"]
    assert not np.isin(windows[:, 1:], [1, 2, 3, tokenizer.token_to_id("<0x41>")]).any()
    assert "</s>" in tokenizer.decode(windows[0].tolist(), skip_special_tokens=False)

    loaded = dataclasses.replace(tiny_loaded("xglm"), tokenizer=AutoTokenizer.from_pretrained(tokenizer_dir))
    (row,) = encode_sentences(loaded, [("s-1", spelt)], max_length=40, where="sentences").rows
    assert row[1:16] == windows[0, 1:].tolist()
    with pytest.raises(
        DataError, match=r"sentence 's-1' holds '</s>', which the tokenizer takes for its own"
    ):
        encode_sentences(tiny_loaded("xglm"), [("s-1", "the </s> house")], max_length=20, where="sentences")


def test_equal_text_gives_equal_windows(corpus, tokenizer_dir, tmp_path):
    for name in ("a", "b"):
        tokenize_corpus(corpus, tokenizer_dir, tmp_path / f"{name}.h5", sequence_length=16)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_language_without_a_window_is_an_error(corpus, tokenizer_dir, tmp_path):
    path = tmp_path / "tokens.h5"
    with pytest.raises(DataError, match=r"language en has \d+ training tokens"):
        tokenize_corpus(corpus, tokenizer_dir, path, sequence_length=100_000)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_document_is_named(tokenizer_dir, tmp_path):
    broken = tmp_path / "en.jsonl"
    broken.write_text('{"text": "a", "split": "train"}\n{"text": "b"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 2 is not a document"):
        tokenize_corpus({"en": broken}, tokenizer_dir, tmp_path / "t.h5", sequence_length=4)


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "t.h5"
    with h5py.File(path, "w"):
        pass
    with pytest.raises(StoreError):
        open_windows(path)


def test_temperature_levels_the_languages(corpus, tokenizer_dir, tmp_path):
    path = tmp_path / "tokens.h5"
    tokenize_corpus(corpus, tokenizer_dir, path, sequence_length=16)
    assert set(language_shares(path, 0.0).values()) == {0.25}
    sizes = {lang: len(rows) for lang, rows in open_windows(path).train.items()}
    as_it_comes = language_shares(path, 1.0)
    assert as_it_comes["zh"] / as_it_comes["en"] == pytest.approx(sizes["zh"] / sizes["en"])
