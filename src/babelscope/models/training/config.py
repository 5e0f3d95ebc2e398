"""The config of a model that starts from random weights: what the study sets, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from babelscope.errors import StudyError
from babelscope.models.architectures import architecture as find_architecture
from babelscope.models.checkpoints import load_tokenizer
from babelscope.models.dimensions import max_positions


def model_config(
    name: str, architecture: str, given: Mapping[str, Any], tokenizer_dir: Path, positions: int
) -> Any:
    """A config of transformers with the study's settings and the tokenizer's ids.

    Args:
        name: Run id, for errors.
        architecture: Model type, such as ``xglm``.
        given: Settings of its config class; dropouts that are not named are 0.
        tokenizer_dir: The tokenizer.
        positions: Length of the inputs that the model is trained on.

    Raises:
        StudyError: If the config class does not know a setting, or windows are too long for it.
    """
    from transformers import AutoConfig

    key = f"models.{name.rsplit('-seed', 1)[0]}.architecture_config"
    dropouts = find_architecture(architecture).dropouts
    plain = AutoConfig.for_model(architecture)
    known = {*plain.to_dict(), *plain.attribute_map}
    for setting in given:
        if setting not in known:
            names = ", ".join(sorted(name for name in known if not name.startswith("_")))
            raise StudyError(f"{key}.{setting}", given[setting], f"a setting of {architecture}: {names}")
    tokenizer = load_tokenizer(tokenizer_dir)
    try:
        config = AutoConfig.for_model(
            architecture,
            **{
                **dict.fromkeys(dropouts, 0.0),
                **given,
                "vocab_size": len(tokenizer),
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            },
        )
    except (TypeError, ValueError) as error:
        hint = "see the config class of this architecture in the documentation of transformers"
        raise StudyError(key, dict(given), f"what transformers takes ({error})", hint) from error
    longest = max_positions(config.to_dict())
    if longest is not None and longest < positions:
        allowed = f"room for training.sequence_length, {positions} positions"
        raise StudyError(key, dict(given), allowed, f"as it is, the model has {longest}")
    return config
