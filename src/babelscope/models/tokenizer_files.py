"""Which tokenizers cut text alike, by their files. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from babelscope.errors import ModelError
from babelscope.io.json import read_json
from babelscope.models.files import NAME_TOKENIZER, is_vocabulary, tokenizer_files

#: Where settings of special tokens stand; the second goes before the first.
_SETTINGS = ("special_tokens_map.json", "tokenizer_config.json")
_CONVERT = (
    "convert it where sentencepiece is installed (transformers: AutoTokenizer.from_pretrained(FOLDER), then "
    "save_pretrained(FOLDER)), or install sentencepiece here"
)
_AGAIN = "save it once more with the tokenizers or transformers that wrote it, or take another copy"
_ADDED = ("add_bos_token", "add_eos_token")
#: Settings that change nothing about how text is cut; all others do where there is no tokenizer.json.
_OF_USE = frozenset(
    {
        *("name_or_path", "tokenizer_file", "special_tokens_map_file", "auto_map", "processor_class"),
        *("chat_template", "model_max_length", "padding_side", "truncation_side", "model_input_names"),
        *("clean_up_tokenization_spaces", "is_local", "backend", "max_length"),
    }
)


def cut_hash(folder: Path | str) -> str:
    """Hash of what decides how a tokenizer cuts text and which special tokens it has.

    Two folders that differ in anything else, such as a name, a chat template, the length that was last cut at
    or how JSON is laid out, have one hash.

    Raises:
        ModelError: If there is no tokenizer, or a file cannot be read.
    """
    folder = Path(folder)
    content = hashlib.sha256()
    has_json = (folder / "tokenizer.json").is_file()
    for file in tokenizer_files(folder):
        if file.name == "tokenizer.json":
            content.update(str(written_tokenizer(folder).to_str()).encode())
        elif not has_json and file.name not in _SETTINGS:
            content.update(file.name.encode() + file.read_bytes())
    settings = special_tokens(folder)
    if not has_json:  # its class cuts as they say, in lower case for instance
        settings = {key: value for key, value in _settings(folder).items() if key not in _OF_USE} | settings
    content.update(json.dumps(settings, sort_keys=True).encode())
    return content.hexdigest()


def check_tokenizer(folder: Path | str, n_rows: int) -> None:
    """Refuse a tokenizer that a job would refuse, by its files alone.

    Args:
        folder: Its folder.
        n_rows: Rows of the word embeddings of the model.

    Raises:
        ModelError: If there is none, it can only be converted by a library that is not here, it cannot be
            read, or it has more tokens than the model.
    """
    folder = Path(folder)
    names = {file.name for file in tokenizer_files(folder)}
    if not any(is_vocabulary(name) for name in names):
        raise ModelError(folder, "has no tokenizer (tokenizer.json, *.model, vocab.*)", NAME_TOKENIZER)
    if "tokenizer.json" not in names:
        if not any(name.startswith("vocab") for name in names) and find_spec("sentencepiece") is None:
            model = next(name for name in sorted(names) if name.endswith(".model"))
            raise ModelError(folder, f"has only {model}, no tokenizer.json", _CONVERT)
        return
    n_tokens = _n_tokens(folder / "tokenizer.json")
    if n_tokens > n_rows:
        problem = f"its tokenizer has {n_tokens} tokens, the model only {n_rows}"
        raise ModelError(folder, problem, "name the tokenizer that the model was trained with")


def _n_tokens(file: Path) -> int:
    """One more than the highest id of a token. Read as JSON, a tenth of the time that it takes to load it."""
    try:
        content = read_json(file)
        pieces = content["model"]["vocab"]
        highest = len(pieces) - 1 if isinstance(pieces, list) else max(pieces.values(), default=-1)
        added = [int(token["id"]) for token in content.get("added_tokens") or ()]
        return 1 + max([int(highest), *added])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(file, f"cannot be read as a tokenizer: {error!r}", _AGAIN) from error


def written_tokenizer(folder: Path | str) -> Any:
    """``tokenizer.json`` of a folder, as the library of tokenizers reads it; None if there is none.

    Cutting and padding that was asked for when it was saved is of that use, and left out.

    Raises:
        ModelError: If it cannot be read.
    """
    file = Path(folder) / "tokenizer.json"
    if not file.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain exceptions
        raise ModelError(file, f"cannot be read as a tokenizer: {error}", _AGAIN) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def special_tokens(folder: Path | str) -> dict[str, Any]:
    """The special tokens of a tokenizer by their roles, and whether text begins and ends with one, as its
    settings say.

    Raises:
        ModelError: If a file of settings cannot be read.
    """
    return {
        key: value["content"] if isinstance(value, dict) and "content" in value else value
        for key, value in _settings(Path(folder)).items()
        if key.endswith("_token") or key in _ADDED
    }


def _settings(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _SETTINGS:
        file = folder / name
        try:
            given = dict(read_json(file)) if file.is_file() else {}
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(file, f"cannot be read as settings of a tokenizer: {error!r}") from error
        found |= {key: value for key, value in given.items() if value is not None}
    return found
