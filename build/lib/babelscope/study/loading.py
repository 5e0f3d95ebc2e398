"""Reads a config: on top of the study that it extends, with defaults, checked in every way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from babelscope.errors import DataError, StudyError
from babelscope.io.yaml import MOST_VALUES, is_bounded, read_mapping
from babelscope.study.checks import cross_check
from babelscope.study.config import Study
from babelscope.study.yaml import merge, read_named

_RUN = "__use_yte__"


def load_study(config: Mapping[str, Any]) -> Study:
    """Validate a config, as read from YAML, and give it as typed values.

    Raises:
        StudyError: Naming the key, the value given, what is allowed and a hint.
        DataError: If a file that the config names, such as a model's config.json, is unusable.
    """
    if not is_bounded(config):
        allowed = f"a study of {MOST_VALUES:,} values or less, not nested too deeply"
        raise StudyError("study", config.get("study"), allowed, "its aliases stand for more than it says")
    study = Study.of(_extended(config))
    cross_check(study)
    return study


def read_study(path: Path, hint: str = "") -> dict[str, Any]:
    """The keys and values of a study's file, as Snakemake reads them.

    Snakemake would run code in a file that asks for it, so such a file is no study.

    Args:
        path: The file.
        hint: What to do if it cannot be used.

    Raises:
        DataError: If it is not there, holds no keys and values, one of them twice, or asks to be run.
    """
    config = read_mapping(path, hint)
    if _RUN in config:
        raise DataError(
            path, f"asks Snakemake to run code in it ({_RUN})", "write its values out, without it"
        )
    return config


def _extended(config: Mapping[str, Any], above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The config on top of the study that it extends, if it does."""
    own = {key: value for key, value in config.items() if key != "extends"}
    if "extends" not in config:
        return own
    path, allowed = Path(str(config["extends"])), "path of a study file"
    if path.resolve() in above:
        raise StudyError("extends", str(path), allowed, "these studies extend each other in a circle")
    base = read_named("extends", str(path), allowed)
    if not isinstance(base, dict):
        raise DataError(path, "is no mapping of keys to values")
    return merge(_extended(base, (*above, path.resolve())), own)
