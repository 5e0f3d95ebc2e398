"""Folders of training tools and formats that transformers does not load: what they are, and what merges or
converts them. Known by the names in them; nothing is read. Needs no torch."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

_CONVERTED = "convert it to the format of transformers, and name that folder"
_OLDER = "with transformers 4, from_pretrained(FOLDER, from_{0}=True), then save_pretrained(OUT)"

#: What holds empty tensors where DeepSpeed keeps the weights elsewhere.
MERGE_ZERO = "merge the parts of DeepSpeed (python zero_to_fp32.py FOLDER OUT), and name the folder OUT"


class Format(NamedTuple):
    """What a folder holds instead of weights that transformers loads."""

    what: str
    how: str
    """What to do, with the tool that does it."""


#: Patterns of names, the surest first.
_FORMATS: tuple[tuple[tuple[str, ...], Format], ...] = (
    (
        ("global_step*", "zero_to_fp32.py", "zero_pp_rank_*", "*_optim_states.pt", "*_model_states.pt"),
        Format("a checkpoint of DeepSpeed", MERGE_ZERO),
    ),
    (
        ("pytorch_model_fsdp*", "*.distcp"),
        Format(
            "the shards of FSDP",
            "merge them (accelerate merge-weights FOLDER OUT for .distcp files; load pytorch_model_fsdp.bin "
            "with load_state_dict and write the model with save_pretrained), and name that folder",
        ),
    ),
    (
        ("adapter_model.*", "adapter_config.json"),
        Format(
            "an adapter (LoRA) without the model that it was trained on",
            "merge it into that model (peft: AutoPeftModelForCausalLM.from_pretrained(FOLDER)"
            ".merge_and_unload(), then save_pretrained(OUT)), and name that folder",
        ),
    ),
    (
        ("*.gguf",),
        Format(
            "weights in GGUF, mostly of few bits",
            "take the repository that they were made from; or dequantise them (transformers: "
            "from_pretrained(FOLDER, gguf_file=NAME), then save_pretrained(OUT))",
        ),
    ),
    (("consolidated.*", "params.json"), Format("weights as Meta or Mistral publish them", _CONVERTED)),
    (("mp_rank_*", "latest_checkpointed_iteration.txt"), Format("a checkpoint of Megatron", _CONVERTED)),
    (("tf_model*.h5",), Format("weights of TensorFlow", _OLDER.format("tf"))),
    (("flax_model*.msgpack",), Format("weights of Flax", _OLDER.format("flax"))),
    (("*.nemo",), Format("a model of NeMo", _CONVERTED)),
    (("*.ckpt", "*.pt", "*.pth"), Format("a checkpoint of a training script", _CONVERTED)),
)


def other_format(folder: Path | str) -> Format | None:
    """What a folder holds that is not loaded; None if nothing in it is known.

    Args:
        folder: A folder in which weights are missing or damaged.
    """
    names = [path.name for path in Path(folder).glob("*")]
    for patterns, format_ in _FORMATS:
        if any(fnmatch(name, pattern) for name in names for pattern in patterns):
            return format_
    return None
