"""Tokenizers of pre-trained models, and their corpora cut into windows of token ids.

A tokenizer is BPE over characters with a fallback to bytes: at a few thousand pieces, byte-level
BPE would spend two merges on every Chinese character. Digits and punctuation marks are pieces of
their own.

Legend: N windows, L tokens of a window.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from babelscope.errors import StoreError, StudyError, TextError
from babelscope.io.files import AGAIN, file_sha256, unfinished_name
from babelscope.io.h5 import atomic_h5, open_h5
from babelscope.text.clones import NO_CLONES, Clones, plain, respell
from babelscope.text.corpora import read_documents
from babelscope.text.lines import text_file

logger = logging.getLogger(__name__)

#: Special tokens by their role, in the order of their ids. A text begins with ``bos``.
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}

#: Pieces that spell any character which has no piece of its own.
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))

#: Characters per language that the pieces are learnt from; a small corpus is read again up to it.
CHARACTERS_PER_LANGUAGE = 1_000_000
MAX_REPETITIONS = 10

#: A character gets a piece if it is at least so frequent in one of the languages.
MIN_CHARACTER_SHARE = 2e-5

#: Longest piece in characters; a Chinese clause has no spaces that would end one.
MAX_PIECE_LENGTH = 16

TOKENS_KIND = "windows"
#: Ids of at most so many pieces are kept in 16 bits.
SMALL_VOCABULARY = 2**16
_DOCUMENTS_AT_ONCE = 4096


def train_tokenizer(
    documents: Mapping[str, Path],
    out_dir: Path,
    *,
    vocabulary_size: int,
    seed: int = 0,
    clones: Clones = NO_CLONES,
) -> None:
    """Learn a tokenizer from the training split and write it in Hugging Face format.

    All languages bring the same number of characters, whatever the sizes of their corpora, and a
    character is kept for its share in its own language, so that no script starves. The same texts
    and seed give the same bytes.

    Where there are clones, pieces are learnt from the other languages, and each clone gets all of them under
    its own letters: so its text is cut exactly as its original's. What both have in common are the lone space
    and the bytes of characters that have no piece.

    Args:
        documents: Per language the JSONL file of its documents (``text``, ``split``); clones may be left out.
        out_dir: Receives ``tokenizer.json`` and ``tokenizer_config.json``.
        vocabulary_size: Number of pieces, with the 4 special ones and 256 bytes.
        seed: Chooses the documents that are read.
        clones: Those of the corpus.

    Raises:
        StudyError: If the vocabulary is too small.
        TextError: If a file cannot be read or a language has no training text.
    """
    fixed = [*SPECIAL_TOKENS.values(), *BYTE_TOKENS]
    documents = {lang: path for lang, path in sorted(documents.items()) if lang not in clones}
    copies = 1 + len(clones)
    room = (vocabulary_size - len(fixed)) // copies
    if room < len(documents) * 16:
        least = len(fixed) + len(documents) * 16 * copies
        allowed = f"at least {least} for {len(documents) + len(clones)} languages"
        hint = f"{len(fixed)} pieces are special tokens and bytes; 2000 is small, 8000 comfortable"
        raise StudyError("tokenizers.*.vocabulary_size", vocabulary_size, allowed, hint)
    texts = {lang: _sample(path, lang, seed) for lang, path in documents.items()}
    if clones:  # sentences of a clone stand in documents of other languages too
        texts = {lang: [plain(text) for text in own] for lang, own in texts.items()}
    pieces, merges = _learn(texts, room)
    n_learnt = len(pieces)
    pieces, merges = _respelt(pieces, merges, clones)
    vocabulary = {piece: i for i, piece in enumerate(fixed + pieces)}
    if n_learnt < room:
        logger.warning("the text gives only %d of %d pieces", len(vocabulary), vocabulary_size)
    config = {
        **SPECIAL_TOKENS,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "padding_side": "right",
        "model_max_length": int(1e30),  # the model's own limit counts
    }
    out_dir = Path(out_dir)
    with text_file(out_dir / "tokenizer.json") as file:
        file.write(_assemble(vocabulary, merges).to_str(pretty=True))
    with text_file(out_dir / "tokenizer_config.json") as file:
        file.write(json.dumps(config, indent=2) + "\n")


def _learn(texts: Mapping[str, list[str]], n: int) -> tuple[list[str], list[tuple[str, str]]]:
    """The ``n`` pieces of a text and the merges that make them, in the order in which they are learnt."""
    alphabet = _alphabet(texts, limit=n // 2)
    learner = Tokenizer(models.BPE())
    learner.normalizer, learner.pre_tokenizer = normalizers.NFC(), _pre_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=n,
        show_progress=False,
        # With a limit alone, ties at the limit would be cut in the order of a hash table.
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        max_token_length=MAX_PIECE_LENGTH,
        min_frequency=2,
    )
    learner.train_from_iterator((text for lang in texts for text in texts[lang]), trainer)
    learnt = json.loads(learner.to_str())["model"]
    pieces = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    return pieces, [tuple(merge) for merge in learnt["merges"]]


def _respelt(
    pieces: list[str], merges: list[tuple[str, str]], clones: Clones
) -> tuple[list[str], list[tuple[str, str]]]:
    """Pieces and merges as they are, then under the letters of each clone; the lone space comes once."""
    spellings = [0, *(letters for _, letters in clones.values())]
    all_pieces = [respell(piece, letters) for letters in spellings for piece in pieces]
    all_merges = [(respell(a, letters), respell(b, letters)) for letters in spellings for a, b in merges]
    return list(dict.fromkeys(all_pieces)), list(dict.fromkeys(all_merges))


def _assemble(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    """The whole tokenizer: special tokens, bytes for what has no piece, and spaces as they were."""
    unknown, start = SPECIAL_TOKENS["unk_token"], SPECIAL_TOKENS["bos_token"]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, byte_fallback=True))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFC(), _pre_tokenizer()
    spaces, strip = decoders.Replace("▁", " "), decoders.Strip(content=" ", left=1, right=0)
    tokenizer.decoder = decoders.Sequence([spaces, decoders.ByteFallback(), decoders.Fuse(), strip])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", pair=f"{start} $A {start} $B", special_tokens=[(start, vocabulary[start])]
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS.values()))
    return tokenizer


def _pre_tokenizer() -> Any:
    spaces = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([spaces, digits, pre_tokenizers.Punctuation(behavior="isolated")])


def _sample(path: Path, lang: str, seed: int) -> list[str]:
    """Documents in random order up to :data:`CHARACTERS_PER_LANGUAGE`."""
    texts = [text for text, split in read_documents(path) if split == "train" and text.strip()]
    if not texts:
        raise TextError(path, f"language {lang} has no training text", "lower the held-out share")
    wanted = CHARACTERS_PER_LANGUAGE
    rng = np.random.default_rng([seed, *lang.encode()])
    chosen: list[str] = []
    for _ in range(MAX_REPETITIONS):
        for position in rng.permutation(len(texts)):
            if wanted <= 0:
                return chosen
            chosen.append(texts[position])
            wanted -= len(texts[position])
    return chosen


def _alphabet(texts: Mapping[str, list[str]], limit: int) -> list[str]:
    """The characters that get a piece: digits, then the most frequent ones of any language."""
    normalizer = normalizers.NFC()
    share = dict.fromkeys("▁0123456789", 1.0)
    for documents in texts.values():
        counts: Counter[str] = Counter()
        for text in documents:
            counts.update(normalizer.normalize_str(text))
        total = sum(counts.values())
        for character, count in counts.items():
            if not character.isspace():
                share[character] = max(share.get(character, 0.0), count / total)
    ranked = sorted(share, key=lambda character: (-share[character], character))
    return [character for character in ranked if share[character] >= MIN_CHARACTER_SHARE][:limit]


def tokenizer_json_hash(tokenizer_dir: Path) -> str:
    """SHA-256 of ``tokenizer.json``."""
    return file_sha256(Path(tokenizer_dir, "tokenizer.json"))


def tokenize_corpus(
    documents: Mapping[str, Path], tokenizer_dir: Path, out_h5: Path, *, sequence_length: int
) -> None:
    """Cut a corpus into windows of equal length.

    A window is filled with whole documents, each preceded by the start token, and cut at
    ``sequence_length``: what is left of its last document is dropped, so that every window begins
    where a document begins. The unfinished last window of a language is dropped too. The share of
    tokens that is kept is an attribute of each dataset.

    Args:
        documents: Per language the JSONL file of its documents (``text``, ``split``).
        tokenizer_dir: Folder of the tokenizer.
        out_h5: Receives per language the datasets ``train`` and ``heldout``, ``(N, L)``, uint16, or int32 if
            the tokenizer has more than 65,536 pieces.
        sequence_length: Tokens of a window.

    Raises:
        TextError: If a file cannot be read, or a language has not one full window to train on.
    """
    tokenizer = Tokenizer.from_file(str(Path(tokenizer_dir, "tokenizer.json")))
    tokenizer.encode_special_tokens = True  # they stand for nothing but themselves: only we set them, by id
    start = tokenizer.token_to_id(SPECIAL_TOKENS["bos_token"])
    assert start is not None
    out_h5 = Path(out_h5)
    out_h5.parent.mkdir(parents=True, exist_ok=True)
    # Beside the output, since a node's /tmp may be small.
    folder = unfinished_name(out_h5.with_name(f"{out_h5.name}.windows"))
    folder.mkdir()
    try:
        with atomic_h5(out_h5, kind=TOKENS_KIND) as file:
            file.attrs["sequence_length"] = sequence_length
            file.attrs["vocabulary_size"] = tokenizer.get_vocab_size()
            file.attrs["start_id"] = start
            file.attrs["tokenizer_hash"] = tokenizer_json_hash(tokenizer_dir)
            file.attrs["languages"] = list(documents)
            corpus = hashlib.sha256()
            for lang, path in sorted(documents.items()):
                counts = _cut(path, tokenizer, start, sequence_length, folder)
                _check_counts(path, lang, counts, sequence_length)
                group = file.create_group(lang)
                for split, count in counts.items():
                    _write_windows(group, split, count, folder / split, sequence_length, corpus)
            file.attrs["tokens_hash"] = corpus.hexdigest()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_counts(path: Path, lang: str, counts: Mapping[str, _Count], length: int) -> None:
    train = counts["train"]
    if not train.n_windows:
        problem = f"language {lang} has {train.n_tokens} training tokens, less than one window of {length}"
        hint = "add text, shorten training.sequence_length or leave the language out"
        raise TextError(path, problem, hint)
    if not counts["heldout"].n_windows:
        logger.warning("%s: no full held-out window, so no held-out loss", lang)
    if (kept := train.kept_share(length)) < 0.5:
        logger.warning(
            "%s: only %.0f %% of the training tokens are in windows: documents are longer than %d tokens",
            lang, 100 * kept, length,
        )  # fmt: skip


def _write_windows(
    group: h5py.Group, split: str, count: _Count, raw: Path, length: int, corpus: hashlib._Hash
) -> None:
    """Copy the windows of a split from a raw file into a dataset, and into the hash of the corpus."""
    # Contiguous and not compressed, so that training can map the file into memory.
    small = group.file.attrs["vocabulary_size"] <= SMALL_VOCABULARY
    data = group.create_dataset(
        split, (count.n_windows, length), "<u2" if small else "<i4", track_times=False
    )
    if count.n_windows:
        windows = np.memmap(raw, "<i4", "r", shape=data.shape)
        for row in range(0, count.n_windows, 65536):
            block = windows[row : row + 65536]
            data[row : row + 65536] = block
            corpus.update(np.ascontiguousarray(block).data)
    corpus.update(f"{group.name.strip('/')}/{split}/{count.n_windows}".encode())
    data.attrs["n_documents"] = count.n_documents
    data.attrs["n_tokens"] = count.n_tokens
    data.attrs["kept_share"] = count.kept_share(length)


@dataclass
class _Count:
    n_documents: int = 0
    n_tokens: int = 0
    n_windows: int = 0

    def kept_share(self, length: int) -> float:
        return self.n_windows * length / self.n_tokens if self.n_tokens else 0.0


def _cut(path: Path, tokenizer: Tokenizer, start: int, length: int, folder: Path) -> dict[str, _Count]:
    """Write the windows of one language to raw files ``train`` and ``heldout`` in ``folder``."""
    counts = {"train": _Count(), "heldout": _Count()}
    unfinished: dict[str, list[int]] = {"train": [], "heldout": []}
    documents = read_documents(path)
    with (folder / "train").open("wb") as train, (folder / "heldout").open("wb") as heldout:
        files = {"train": train, "heldout": heldout}
        while chunk := list(islice(documents, _DOCUMENTS_AT_ONCE)):
            encoded = tokenizer.encode_batch_fast([text for text, _ in chunk], add_special_tokens=False)
            full: dict[str, list[list[int]]] = {"train": [], "heldout": []}
            for encoding, (_, split) in zip(encoded, chunk, strict=True):
                if split not in counts:
                    raise TextError(path, f"a document has the split {split!r}: train or heldout")
                window = unfinished[split]
                window.append(start)
                window.extend(encoding.ids)
                counts[split].n_documents += 1
                counts[split].n_tokens += len(encoding.ids) + 1
                if len(window) >= length:
                    full[split].append(window[:length])
                    unfinished[split] = []
            for split, windows in full.items():
                files[split].write(np.array(windows, "<i4").tobytes())
                counts[split].n_windows += len(windows)
    return counts


@dataclass(frozen=True)
class TokenWindows:
    """The windows of a corpus, mapped into memory.

    Attributes:
        sequence_length: Tokens of a window.
        tokenizer_hash: Of the tokenizer that made the windows.
        tokens_hash: Of all windows.
        train: Per language the training windows, uint16 or int32, shape ``(N, L)``.
        heldout: Per language the held-out windows, shape ``(N, L)``; may have no rows.
    """

    sequence_length: int
    tokenizer_hash: str
    tokens_hash: str
    train: Mapping[str, NDArray[np.integer]]
    heldout: Mapping[str, NDArray[np.integer]]


def open_windows(path: Path) -> TokenWindows:
    """Map the windows that :func:`tokenize_corpus` wrote.

    Raises:
        StoreError: If the file is another one, or damaged.
    """
    try:
        with open_h5(path, kind=TOKENS_KIND) as file:
            splits: dict[str, dict[str, NDArray[np.integer]]] = {"train": {}, "heldout": {}}
            for lang, group in file.items():
                for split, windows in splits.items():
                    data = group[split]
                    windows[lang] = np.empty(data.shape, data.dtype)
                    if len(data):
                        offset = data.id.get_offset()
                        windows[lang] = np.memmap(path, data.dtype, "r", offset=offset, shape=data.shape)
            return TokenWindows(
                sequence_length=int(file.attrs["sequence_length"]),
                tokenizer_hash=str(file.attrs["tokenizer_hash"]),
                tokens_hash=str(file.attrs["tokens_hash"]),
                **splits,
            )
    except KeyError as error:
        raise StoreError(path, f"is incomplete: {error}", AGAIN) from error


def language_shares(path: Path, mixture: Mapping[str, float] | float) -> dict[str, float]:
    """Probability with which each language is drawn in training.

    Args:
        path: The windows of a corpus.
        mixture: The shares themselves, or a temperature: a language is drawn in proportion to its number
            of windows to this power; 1 draws text as it comes, 0 draws all languages alike (Conneau and
            Lample 2019 use 0.5).
    """
    if isinstance(mixture, Mapping):
        return dict(mixture)
    sizes = {lang: len(windows) ** mixture for lang, windows in open_windows(path).train.items()}
    total = sum(sizes.values())
    return {lang: size / total for lang, size in sizes.items()}
