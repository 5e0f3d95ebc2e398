"""Where tokens stand in a text: what is shown apart can be shown, and nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from babelscope.capture.token_bounds import shown_tokens, utf16_places

#: Characters of one to four bytes; two of UTF-16; marks that combine; joined emoji.
TEXTS = st.text(st.sampled_from("ab é水ह\u0301\u094d\u200d👩🏽🚒𒀀,"), min_size=1, max_size=30)


def pieces(text, shown):
    units = text.encode("utf-16-le")
    return [
        units[2 * start : 2 * end].decode("utf-16-le")
        for start, end in zip(shown.start_G, shown.end_G, strict=True)
    ]


def byte_tokenizer():
    """Every byte is a token, as rare characters are in GPT-2 and BLOOM."""
    alphabet = {letter: at for at, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def byte_fallback_tokenizer():
    """As SentencePiece has it: a word mark, letters, and bytes for characters that are not known."""
    known = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", ","]
    vocabulary = {piece: at for at, piece in enumerate(known)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return tokenizer


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("ab", [0, 1, 2]),
        ("a👩b", [0, 1, 3, 4]),
        ("e\u0301", [0, 1, 2]),  # a mark is a code unit of its own
        ("", [0]),
    ],
)
def test_places_are_those_of_javascript(text, places):
    assert utf16_places(text).tolist() == places


@pytest.mark.parametrize(
    ("text", "bounds", "expected", "first"),
    [
        ("the house", [(0, 3), (3, 9)], ["the", " house"], [0, 1]),
        ("the house", [(0, 3), (4, 9)], ["the", "house"], [0, 1]),
        ("a水b", [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)], ["a", "水", "b"], [0, 1, 4]),
        ("a 水b", [(0, 1), (1, 3), (2, 3), (3, 4)], ["a", " 水", "b"], [0, 1, 3]),  # a space and a part of 水
        ("水水", [(0, 1), (0, 1), (0, 2), (1, 2)], ["水水"], [0]),  # a piece of two halves
        ("👩🏽", [(0, 1), (0, 1), (1, 2)], ["👩", "🏽"], [0, 2]),
        ("ab", [(0, 0), (0, 1), (1, 2)], ["a", "b"], [0, 2]),  # a word mark goes with what follows
        ("ab", [(0, 1), (1, 1), (1, 2)], ["a", "b"], [0, 1]),
        ("ab", [(0, 2), (2, 2)], ["ab"], [0]),  # nothing follows
        ("ab", [(0, 2), (2, 2), (2, 2)], ["ab"], [0]),
        ("e\u0301a", [(0, 1), (2, 3)], ["e\u0301", "a"], [0, 1]),  # the tokenizer has made é of it
        ("e\u0301a", [(0, 1), (1, 3)], ["e", "\u0301a"], [0, 1]),  # it has not
        ("ab", [(0, 0)], [""], [0]),  # nothing else is there
    ],
)
def test_neighbours_that_cannot_be_shown_apart_are_one(text, bounds, expected, first):
    shown = shown_tokens(text, bounds)
    assert pieces(text, shown) == expected
    assert shown.first_G.tolist() == first


@pytest.mark.parametrize(
    "tokenizer", [byte_tokenizer(), byte_fallback_tokenizer()], ids=["bytes", "fallback"]
)
@given(text=TEXTS)
def test_every_character_is_shown_once_and_whole(tokenizer, text):
    encoded = tokenizer.encode(text, add_special_tokens=False)
    shown = shown_tokens(text, encoded.offsets)
    assert (shown.start_G < shown.end_G).all()
    assert (shown.end_G[:-1] <= shown.start_G[1:]).all()
    assert shown.start_G.dtype == shown.end_G.dtype == np.int32
    assert "".join(pieces(text, shown)).replace(" ", "") == text.replace(" ", "")
    assert shown.first_G[0] == 0
    assert (np.diff(shown.first_G) > 0).all()
    assert shown.first_G[-1] < len(encoded.ids)


@given(text=TEXTS)
def test_bytes_of_one_character_are_one_token(text):
    shown = shown_tokens(text, byte_tokenizer().encode(text, add_special_tokens=False).offsets)
    assert pieces(text, shown) == list(text)
    assert shown.first_G.tolist() == np.cumsum([0, *(len(c.encode()) for c in text[:-1])]).tolist()


@given(
    text=TEXTS,
    cuts=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=12),
)
def test_whatever_a_tokenizer_says_nothing_overlaps(text, cuts):
    """Bounds that rise, as tokenizers have them, and stay in the text."""
    bounds = sorted((min(a, b, len(text)), min(max(a, b), len(text))) for a, b in cuts)
    shown = shown_tokens(text, bounds)
    assert (shown.end_G[:-1] <= shown.start_G[1:]).all()
    assert (shown.start_G < shown.end_G).all() or len(shown.start_G) == 1
    seen = {at for start, end in bounds for at in range(start, end)}
    place = utf16_places(text)
    covered = {
        at
        for at in range(len(text))
        for start, end in zip(shown.start_G, shown.end_G, strict=True)
        if start <= place[at] < end
    }
    assert seen <= covered
