"""Which tokenizers cut text alike, by their files. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from babelscope.errors import ModelError
from babelscope.io.json import read_json
from babelscope.models.files import tokenizer_files

#: Where settings of special tokens stand; the second goes before the first.
_SETTINGS = ("special_tokens_map.json", "tokenizer_config.json")
_ADDED = ("add_bos_token", "add_eos_token")


def cut_hash(folder: Path | str) -> str:
    """Hash of what decides how a tokenizer cuts text and which special tokens it has.

    Two folders that differ in anything else, such as a name, a chat template, the length that was last cut at
    or how JSON is laid out, have one hash.

    Raises:
        ModelError: If there is no tokenizer, or a file cannot be read.
    """
    folder = Path(folder)
    content = hashlib.sha256()
    for file in tokenizer_files(folder):
        has_json = (folder / "tokenizer.json").is_file()
        if file.name == "tokenizer.json":
            content.update(_pieces(file))
        elif not has_json and file.name not in _SETTINGS:
            content.update(file.name.encode() + file.read_bytes())
    content.update(json.dumps(_special_tokens(folder), sort_keys=True).encode())
    return content.hexdigest()


def _pieces(file: Path) -> bytes:
    """``tokenizer.json`` as the library of tokenizers writes it, without the last cutting and padding."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain exceptions
        raise ModelError(file, f"cannot be read as a tokenizer: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return str(tokenizer.to_str()).encode()


def _special_tokens(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _SETTINGS:
        file = folder / name
        try:
            given = read_json(file) if file.is_file() else {}
            tokens = {key: value for key, value in given.items() if key.endswith("_token") or key in _ADDED}
        except (OSError, ValueError, AttributeError) as error:
            raise ModelError(file, f"cannot be read as settings of a tokenizer: {error!r}") from error
        found |= {
            key: value["content"] if isinstance(value, dict) and "content" in value else value
            for key, value in tokens.items()
            if value is not None
        }
    return found
