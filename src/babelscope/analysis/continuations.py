"""Continuations: how likely words of concepts follow where a sentence says its own.

A sentence is cut before its last word of its concept, and the words of other concepts and languages are
asked for in its place. Words are spelt as the sentences of the study spell them, and a word of several tokens
counts with all of them.

Legend: B rows of a batch, T positions, V tokens of the vocabulary, S sentences, R inputs, F words that may
follow, E tokens of them, P places in the inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import takewhile
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from babelscope.analysis.audit.weights import rows_at_once
from babelscope.capture.inputs import encode_sentences, make_batches
from babelscope.capture.settings import ExtractionSettings
from babelscope.models.checkpoints import LoadedModel
from babelscope.text.clones import part_of
from babelscope.text.words import WordFinder, in_text

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Texts = Sequence[tuple[str, str]]
Tokens = tuple[int, ...]
Patch = Callable[[NDArray[np.intp]], AbstractContextManager[None]]
"""Changes the model while inputs of these numbers run."""

#: Spellings of a concept's words that may follow, the most frequent in the study's sentences.
MOST_SPELLINGS = 8
#: Whose words may follow: of another concept and of the sentence's own, in the sentence's language; of the
#: other concept in another language.
OTHER, OWN, ABROAD = range(3)


class Said(NamedTuple):
    """A sentence that says its concept."""

    name: str
    text: str
    start: int
    """Where its last word of the concept begins."""

    @property
    def before(self) -> str:
        """What stands before that word."""
        return self.text[: self.start]


class ConceptTexts(NamedTuple):
    """What is read in one language."""

    sentences: Texts
    """All of them: id and text."""
    said: Mapping[str, Sequence[Said]]
    """By concept the sentences that say it, of the half on which no expert was chosen."""
    spellings: Mapping[str, Sequence[str]]
    """By concept its words as they are spelt in sentences."""


class Prompts(NamedTuple):
    """Sentences up to their word of a concept, and what may follow, as inputs of a model."""

    kept: list[int]
    """Of the sentences given those whose words can be told apart: their numbers."""
    inputs: list[list[int]]
    sentence_R: Ints
    """Of each input its sentence, a place in ``kept``."""
    last_R: Ints
    """Position of the last token before the words."""
    sentence_F: Ints
    kind_F: Ints
    """Whose word it is."""
    form_E: Ints
    """Of each token that is asked for its word, its input, the position that foretells it, and itself."""
    row_E: Ints
    position_E: Ints
    token_E: Ints
    first: int
    """Position of a sentence's first own token."""


def concept_texts(
    sentences: Texts,
    positive: Mapping[str, Texts],
    read: Mapping[str, Texts],
    words: Mapping[str, Sequence[str]],
    *,
    lang: str = "",
    letters: int = 0,
) -> ConceptTexts:
    """Find the words of concepts in the sentences of a language.

    Args:
        sentences: Id and text of all.
        positive: By concept those that express it.
        read: Of these the half on which no expert was chosen.
        words: By concept its words.
        lang: Language of the words; of a clone its original's.
        letters: Number of a clone's letters, else 0.
    """
    said: dict[str, list[Said]] = {}
    spellings: dict[str, list[str]] = {}
    for concept, forms in words.items():
        finder, spelt, last = WordFinder({concept: forms}, lang), Counter[str](), dict[str, int]()
        for name, text in positive.get(concept, ()):
            own = part_of(text, letters)
            for found in finder.find(own):
                place = in_text(found, own, lang)
                spelt[text[place]] += 1
                last[name] = place.start
        sayings = [Said(name, text, last.get(name, 0)) for name, text in read.get(concept, ())]
        # A word that opens its sentence has nothing before it.
        said[concept] = [saying for saying in sayings if saying.before.strip()]
        spellings[concept] = sorted(spelt, key=lambda form: (-spelt[form], form))[:MOST_SPELLINGS]
    return ConceptTexts(sentences, said, spellings)


def make_prompts(
    loaded: LoadedModel,
    sentences: Sequence[Said],
    words: Sequence[Iterable[str]],
    extraction: ExtractionSettings,
    *,
    where: str,
) -> Prompts | None:
    """Sentences with the words that may follow; None if no sentence has words left of the first two kinds.

    A word that begins with another is a part of what the other stands for, and is left out; so is one that
    does not tell the two concepts, or the two languages, apart.

    Args:
        loaded: A causal language model.
        sentences: Each is cut before its word.
        words: :data:`OTHER`, :data:`OWN` and :data:`ABROAD`.
        extraction: How sentences are cut into tokens.
        where: Names the sentences in an error.
    """
    asked = [(kind, word) for kind, of in enumerate(words) for word in of]
    if not sentences or not asked:
        return None
    texts = [
        (f"{at}/{n}", sentence.before + word)
        for at, sentence in enumerate(sentences)
        for n, (_, word) in enumerate(asked)
    ]
    encoded = encode_sentences(
        loaded, texts, max_length=extraction.max_length, where=where, prefix=extraction.prefix
    )
    built = _Builder(encoded.first)
    for at in range(len(sentences)):
        rows = [tuple(row) for row in encoded.rows[at * len(asked) : (at + 1) * len(asked)]]
        if max(map(len, rows)) < extraction.max_length:  # else a word may be cut
            built.add(
                at, [[row for row, (k, _) in zip(rows, asked, strict=True) if k == kind] for kind in range(3)]
            )
    return built.prompts()


class _Builder:
    """Puts prompts together, a sentence at a time."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._kept: list[int] = []
        self._inputs: list[list[int]] = []
        self._of_input: list[tuple[int, int]] = []
        self._of_form: list[tuple[int, int]] = []
        self._of_token: list[tuple[int, int, int, int]] = []

    def add(self, at: int, rows: Sequence[Sequence[Tokens]]) -> None:
        """Take in a sentence with its words of each kind, as whole inputs; or not, if they tell nothing."""
        told = _told_apart(*rows)
        forms = [(kind, row) for kind, of in enumerate(told) for row in of]
        n_common = common_length([row for _, row in forms])
        if not told[OTHER] or not told[OWN] or n_common <= self._first:
            return
        # The last token of a word is foretold, not read; an input serves all that it begins with.
        reads = sorted({row[:-1] for _, row in forms})
        longest = [row for row in reads if not any(_extends(other, row) for other in reads)]
        start, sentence = len(self._inputs), len(self._kept)
        self._kept.append(at)
        self._inputs += map(list, longest)
        self._of_input += [(sentence, n_common - 1)] * len(longest)
        for kind, row in forms:
            number = next(n for n, read in enumerate(longest) if read[: len(row) - 1] == row[:-1])
            asked = (len(self._of_form), start + number)
            self._of_token += [(*asked, place - 1, row[place]) for place in range(n_common, len(row))]
            self._of_form.append((sentence, kind))

    def prompts(self) -> Prompts | None:
        """All that was taken in; None if nothing was."""
        if not self._kept:
            return None
        of_input, of_form, of_token = (
            np.array(each, dtype=np.int64).T for each in (self._of_input, self._of_form, self._of_token)
        )
        return Prompts(
            kept=self._kept,
            inputs=self._inputs,
            sentence_R=of_input[0],
            last_R=of_input[1],
            sentence_F=of_form[0],
            kind_F=of_form[1],
            form_E=of_token[0],
            row_E=of_token[1],
            position_E=of_token[2],
            token_E=of_token[3],
            first=self._first,
        )


def common_length(rows: Sequence[Sequence[int]]) -> int:
    """With how many tokens all of them begin."""
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*rows, strict=False)))


def _extends(longer: Tokens, row: Tokens) -> bool:
    return len(longer) > len(row) and longer[: len(row)] == row


def _told_apart(
    other: Iterable[Tokens], own: Iterable[Tokens], abroad: Iterable[Tokens]
) -> list[list[Tokens]]:
    """Of each kind the words that are no part of what another stands for."""
    first, second = set(other), set(own)
    here = first | second
    told = [
        [row for row in dict.fromkeys(of) if not any(_extends(row, each) for each in here)]
        for of in (first - second, second - first)
    ]
    distinct = set(abroad) - here
    told.append(
        [
            row
            for row in distinct
            if not any(_extends(row, each) for each in here | distinct)
            and not any(_extends(each, row) for each in here)
        ]
    )
    return [sorted(of) for of in told]


@torch.inference_mode()
def log_probabilities(loaded: LoadedModel, prompts: Prompts, patch: Patch) -> Floats:
    """Log-probability that some word of each kind follows, ``(S, 3)``; NaN where there is none.

    Args:
        loaded: A causal language model.
        prompts: Sentences and words.
        patch: Changes the model.
    """
    log_E = np.empty(len(prompts.form_E))
    for batch in make_batches(loaded, prompts.inputs, batch_size=rows_at_once(loaded, prompts.inputs)):
        with patch(batch.rows):
            logits_BTV = loaded.model(
                input_ids=batch.input_ids_BS, attention_mask=batch.mask_BS, use_cache=False
            ).logits
        asked = np.flatnonzero(np.isin(prompts.row_E, batch.rows))
        in_batch = np.argsort(batch.rows)[np.searchsorted(np.sort(batch.rows), prompts.row_E[asked])]
        places_2P, of_E = np.unique([in_batch, prompts.position_E[asked]], axis=1, return_inverse=True)
        rows, positions, place, token = (
            torch.from_numpy(each).to(logits_BTV.device)
            for each in (*places_2P, of_E.ravel(), prompts.token_E[asked])
        )
        log_PV = torch.log_softmax(logits_BTV[rows, positions].float(), dim=-1)
        log_E[asked] = log_PV[place, token].double().cpu().numpy()
    log_F = np.bincount(prompts.form_E, log_E)
    log_S3 = np.full((len(prompts.kept), 3), -np.inf)
    with np.errstate(invalid="ignore"):  # what is not finite the caller refuses
        np.logaddexp.at(log_S3, (prompts.sentence_F, prompts.kind_F), log_F)
    there_S3 = np.zeros(log_S3.shape, dtype=bool)
    there_S3[prompts.sentence_F, prompts.kind_F] = True
    return np.where(there_S3, log_S3, np.nan)
