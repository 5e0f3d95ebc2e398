"""Traits of text that no model is needed for: length, spelling, how often words stand in training text.

Names of shapes: ``N`` sentences, ``F`` traits.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from babelscope.models.tokenizer_files import cut_hash, written_tokenizer
from babelscope.text.clones import NO_CLONES, Clones, plain
from babelscope.text.corpora import read_documents
from babelscope.text.kinship import script_of
from babelscope.text.languages import english_among
from babelscope.text.tokenization import language_shares
from babelscope.text.words import WordFinder

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
#: Of each sentence: its bytes, its tokens, and over its tokens the mean share of the other languages that
#: have the token.
TRAITS = ("bytes", "tokens", "shared_tokens")
#: Characters of a language's training text in which words of concepts are counted, at most.
MOST_CHARACTERS = 1_000_000


class Cut(NamedTuple):
    """The sentences of a language as a tokenizer cuts them."""

    ids: list[str]
    texts: list[str]
    tokens: list[list[int]]


class Training(NamedTuple):
    """What is known of the text that a model was trained on; empty where it was not trained here."""

    shares: Mapping[str, float] = MappingProxyType({})
    """Per language the probability with which it was drawn."""
    frequencies: Mapping[str, Mapping[str, float]] = MappingProxyType({})
    """Per language and concept the words of the concept per million characters."""


class TextOfModel(NamedTuple):
    """Where a model's tokenizer lies and, if it was trained here, on what."""

    tokenizer: str
    """Folder."""
    windows: str = ""
    """File of the corpus in windows."""
    mixture: Mapping[str, float] | float = 1.0
    """How languages were drawn, see :func:`babelscope.text.tokenization.language_shares`."""
    documents: Mapping[str, str] = MappingProxyType({})
    """Per language the file of its documents."""


def read_cuts(
    models: Mapping[str, TextOfModel], sentences: Mapping[str, Sequence[tuple[str, str]]]
) -> dict[str, dict[str, Cut]]:
    """The sentences as the tokenizer of each model cuts them.

    A model without a ``tokenizer.json`` is left out.

    Args:
        models: By id.
        sentences: Per language id and text.
    """
    known: dict[str, dict[str, Cut]] = {}
    found = {}
    for name, of in models.items():
        tokenizer = written_tokenizer(of.tokenizer)
        if tokenizer is None:
            logger.warning("%s: %s has no tokenizer.json, so it has no confounds", name, of.tokenizer)
            continue
        tokenizer.encode_special_tokens = True  # as where sentences are read: only by id are they special
        alike = cut_hash(of.tokenizer)
        if alike not in known:
            known[alike] = cut(sentences, tokenizer)
        found[name] = known[alike]
    return found


def read_training(
    models: Mapping[str, TextOfModel],
    words: Mapping[str, Mapping[str, Sequence[str]]],
    languages: Sequence[str],
    clones: Clones = NO_CLONES,
) -> dict[str, Training]:
    """What each model was trained on.

    Args:
        models: By id.
        words: Per concept and language its words, see :func:`babelscope.text.concepts.words_of_concepts`.
        languages: Those that are analysed.
        clones: Those among them.
    """
    known: dict[str, dict[str, float]] = {}
    found = {}
    for name, of in models.items():
        frequencies = {}
        for lang in languages:
            path = of.documents.get(lang, "")
            if path and path not in known:
                own = {concept: forms.get(lang, []) for concept, forms in words.items()}
                original = clones[lang][0] if lang in clones else lang
                known[path] = word_frequencies(read_documents(Path(path)), own, original)
            frequencies[lang] = known.get(path, {})
        shares = language_shares(Path(of.windows), of.mixture) if of.windows else {}
        found[name] = Training(shares, frequencies)
    return found


def cut(sentences: Mapping[str, Sequence[tuple[str, str]]], tokenizer: Any) -> dict[str, Cut]:
    """Cut the sentences of every language.

    Args:
        sentences: Per language id and text.
        tokenizer: Of the library of tokenizers.
    """
    found = {}
    for lang, of in sorted(sentences.items()):
        texts = [text for _, text in of]
        tokens = [coded.ids for coded in tokenizer.encode_batch(texts, add_special_tokens=False)]
        found[lang] = Cut([name for name, _ in of], texts, tokens)
    return found


def traits(cuts: Mapping[str, Cut]) -> dict[str, Floats]:
    """The :data:`TRAITS` of every sentence, ``(N, F)``, by language."""
    types = {lang: {token for row in of.tokens for token in row} for lang, of in cuts.items()}
    having = Counter(token for of_lang in types.values() for token in of_lang)
    others = max(1, len(cuts) - 1)
    return {
        lang: np.array(
            [
                (len(text.encode()), len(row), np.mean([having[token] - 1 for token in row or [-1]]) / others)
                for text, row in zip(of.texts, of.tokens, strict=True)
            ]
        )
        for lang, of in cuts.items()
    }


def byte_premiums(cuts: Mapping[str, Cut]) -> dict[str, float]:
    """Bytes of each language for what English says in one, on the sentences that both have.

    Empty without English, or of a language that shares no sentence with it. After Arnett, Chang and
    Bergen (2024).
    """
    english = english_among(cuts)
    sizes = {lang: _bytes(of) for lang, of in cuts.items()}
    ratios = {} if english is None else {lang: _ratio(sizes[lang], sizes[english]) for lang in cuts}
    return {lang: ratio for lang, ratio in ratios.items() if np.isfinite(ratio)}


def _bytes(of: Cut) -> dict[str, int]:
    return {name: len(text.encode()) for name, text in zip(of.ids, of.texts, strict=True)}


def _ratio(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    both = one.keys() & other.keys()
    return sum(one[name] for name in both) / sum(other[name] for name in both) if both else np.nan


def pair_traits(cuts: Mapping[str, Cut], shares: Mapping[str, float], *, parallel: bool) -> pd.DataFrame:
    """What two languages have in common outside any model, by pair.

    Args:
        cuts: Per language its sentences, as a tokenizer cuts them.
        shares: Per language its share of the training text; those of others are not known.
        parallel: Whether equal ids are translations of each other.

    Returns:
        Index ``lang_a, lang_b``; columns ``same_script`` (0, 1), ``shared_tokens`` (the part of the two
        languages' tokens that they have in common: the sum over the vocabulary of the smaller of the two
        relative frequencies), ``byte_difference`` (logarithm of the ratio of their bytes on the same
        sentences, without its sign; NaN unless parallel) and ``corpus_share`` (mean logarithm of both
        shares; NaN where one is not known).
    """
    scripts = {lang: script_of(of.texts) for lang, of in cuts.items()}
    counts = {lang: Counter(token for row in of.tokens for token in row) for lang, of in cuts.items()}
    sizes = {lang: _bytes(of) for lang, of in cuts.items()}
    rows = []
    for a, b in combinations(sorted(cuts), 2):
        common = sum(
            min(n / counts[a].total(), counts[b][token] / counts[b].total()) for token, n in counts[a].items()
        )
        difference = abs(np.log(_ratio(sizes[a], sizes[b]))) if parallel else np.nan
        share = np.mean([np.log(shares[lang]) if shares.get(lang) else np.nan for lang in (a, b)])
        rows.append((a, b, float(scripts[a] == scripts[b]), common, difference, share))
    columns = ["lang_a", "lang_b", "same_script", "shared_tokens", "byte_difference", "corpus_share"]
    return pd.DataFrame(rows, columns=columns).set_index(["lang_a", "lang_b"])


def word_frequencies(
    documents: Iterable[tuple[str, str]], words: Mapping[str, Sequence[str]], lang: str
) -> dict[str, float]:
    """How often the words of each concept stand in training text, per million characters.

    Args:
        documents: Text and split of each; those of the split ``train`` are read, up to
            :data:`MOST_CHARACTERS`.
        words: Per concept its words; a concept without words is left out.
        lang: Their language; of a clone its original.
    """
    finder = WordFinder({concept: map(plain, own) for concept, own in words.items()}, lang)
    counts, n = Counter[str](), 0
    for text, split in documents:
        if split == "train":
            counts.update(found.concept for found in finder.find(plain(text)))
            n += len(text)
        if n >= MOST_CHARACTERS:
            break
    return {concept: 1e6 * counts[concept] / n for concept, own in words.items() if own} if n else {}
