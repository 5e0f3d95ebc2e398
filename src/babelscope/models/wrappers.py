"""Multimodal models read as the text model inside them. Needs no torch.

``config.json`` and the names of tensors are turned into those of the text model alone where they are read, so
that nothing else needs to know. The parts that see are neither loaded nor counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from babelscope.io.yaml import packaged_yaml

#: Key of a text model's config that names the wrapper which it was read out of.
INSIDE = "inside_wrapper"

WRAPPERS: Mapping[str, Mapping[str, Any]] = packaged_yaml("babelscope.models", "wrappers.yaml")

_TIED = "tie_word_embeddings"


def text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the text model inside a wrapper; that of any other model as it is.

    Args:
        config: As in ``config.json``. The first versions of Qwen2-VL had the keys of the text model beside
            the others, without a ``text_config``.

    Returns:
        With the name of the wrapper at :data:`INSIDE`.
    """
    model_type = config.get("model_type")
    wrapper = WRAPPERS.get(model_type) if isinstance(model_type, str) else None
    if wrapper is None:
        return dict(config)
    text = config.get("text_config")
    inner = dict(text) if isinstance(text, Mapping) else {}
    own = {key: value for key, value in config.items() if not key.endswith("_config") or _is_of_weights(key)}
    tied = config.get(_TIED, wrapper["tied"]) or (wrapper.get("text_ties", False) and inner.get(_TIED, False))
    read = {"model_type": wrapper["text"], _TIED: bool(tied), INSIDE: model_type}
    return {**wrapper["defaults"], **own, **inner, **read}


def _is_of_weights(key: str) -> bool:
    """Whether a key says how weights are stored: that holds of the text model's too."""
    return key in ("quantization_config", "compression_config")


def text_name(name: str, config: Mapping[str, Any]) -> str | None:
    """The name that a tensor of a file has in the text model alone; None if it is of a part that sees.

    Args:
        name: As in the file.
        config: Of :func:`text_config`.
    """
    if INSIDE not in config:
        return name
    wrapper = WRAPPERS[config[INSIDE]]
    if any(fnmatchcase(name, pattern) for pattern in wrapper["other"]):
        return None
    for begin, instead in wrapper["names"].items():
        if name.startswith(begin):
            return f"{instead}{name.removeprefix(begin)}"
    return name
