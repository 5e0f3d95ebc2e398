"""Models and tokenizers from local folders in Hugging Face format, and back."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from babelscope.errors import ModelError, StudyError
from babelscope.io.files import give_usual_mode, unfinished_name
from babelscope.models.architectures import architecture, is_encoder
from babelscope.models.files import (
    is_complete,
    read_config,
    read_manifest,
    stored_type,
    tokenizer_files,
    tokenizer_files_hash,
    weight_files,
    weights_hash,
)
from babelscope.models.mapped_files import pages_dropped
from babelscope.models.tensors import (
    Stored,
    check_index,
    check_stored,
    check_tensors,
    is_unused,
    refuse_left_over,
)
from babelscope.runtime import tune_memory

logger = logging.getLogger(__name__)

#: Text on which tokenizers differ if they do: spaces, digits, signs, several scripts.
_PROBE = "The old  house, 1,234 km from here: el río, die Straße; дом и вода. 水在河里 घर पानी ماء\n"
#: Types by the names that safetensors has for them.
_SHORT = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
#: What a config may ask otherwise, and what runs here counts on.
_OUTPUTS = {"return_dict": True, "output_hidden_states": False, "output_attentions": False}
_DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to run, and where it comes from."""

    model: Any
    """A language model of transformers with its head, in eval mode."""
    tokenizer: Any
    """A tokenizer of transformers."""
    start_id: int
    """First token of every input, see :func:`start_token`."""
    pad_id: int
    """What fills up short rows; masked, so any token will do."""
    folder: Path
    weights_hash: str
    tokenizer_hash: str
    """Over all files of the tokenizer."""
    end_id: int | None = None
    """Last token of every input of an encoder, see :func:`end_token`; None for decoders."""
    repo: str = ""
    """Repository of the hub that it was fetched from; empty if it was not."""
    commit: str = ""

    @property
    def config(self) -> dict[str, Any]:
        """As in ``config.json``, with every default filled in."""
        return dict(self.model.config.to_dict())

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return torch.device(self.model.device)


def load_checkpoint(
    folder: Path | str, *, tokenizer: Path | str | None = None, dtype: str = "float32", device: str = "auto"
) -> LoadedModel:
    """Load a model with its tokenizer.

    Args:
        folder: Hugging Face folder with the weights.
        tokenizer: Folder of the tokenizer; the same one by default.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto`` (cuda if there is one), ``cpu``, ``cuda``, or ``spread`` (over all GPUs).

    Raises:
        ModelError: If a folder or a file is missing, damaged or does not fit.
    """
    folder = Path(folder)
    tokenizer_folder = folder if tokenizer is None else Path(tokenizer)
    words = load_tokenizer(tokenizer_folder)
    model = load_model(folder, dtype=dtype, device=device)
    if len(words) > model.config.vocab_size:
        problem = f"its tokenizer has {len(words)} tokens, the model only {model.config.vocab_size}"
        raise ModelError(tokenizer_folder, problem, "name the tokenizer that the model was trained with")
    start = start_token(words, model)
    origin = read_manifest(folder)
    return LoadedModel(
        model=model,
        tokenizer=words,
        start_id=start,
        pad_id=start if words.pad_token_id is None else int(words.pad_token_id),
        folder=folder,
        weights_hash=weights_hash(folder),
        tokenizer_hash=tokenizer_files_hash(tokenizer_folder),
        end_id=end_token(words) if is_encoder(model.config.to_dict()) else None,
        repo=origin.repo,
        commit=origin.commit,
    )


def load_model(folder: Path | str, *, dtype: str = "float32", device: str = "cpu") -> Any:
    """Load a language model from a local folder, in eval mode. Runs no code of the folder.

    Weights are read tensor by tensor into their place, in the type asked for: memory stays at their
    size and one tensor. ``.bin`` files are read as weights only, so that a pickle cannot run anything,
    and are not converted to safetensors on the side.

    Args:
        folder: Hugging Face folder.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto``, ``cpu``, ``cuda``, or ``spread``: over all GPUs, for a model too large for one.

    Raises:
        ModelError: If the folder, its config or its weights are missing, damaged or incomplete, or if the
            files hold anything but the model: see :func:`babelscope.models.tensors.check_tensors`.
        StudyError: If the architecture or the device is not there.
    """
    folder = Path(folder)
    where = resolve_device(device)
    if not folder.is_dir():
        raise ModelError(folder, "no such folder of a checkpoint")
    config = read_config(folder)
    entry = architecture(config.get("model_type"))
    problem = is_complete(folder)
    if problem is not None:
        raise ModelError(folder, f"is not whole: {problem}")
    check_weights(folder)

    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    files = weight_files(folder)
    # Weights that are not cast stay where the file is mapped; then its pages are the model.
    mapped = files if stored_type(folder) != dtype else []
    try:
        with pages_dropped(mapped):
            model, report = auto_class(config).from_pretrained(
                folder,
                dtype=_DTYPES[dtype],
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                use_safetensors=files[0].suffix == ".safetensors",
                weights_only=True,
                **_OUTPUTS,
                # Straight to its place, without a copy in the host's memory on the way to a GPU.
                device_map="auto" if where == "spread" else {"": where},
            )
    except Exception as error:  # each format of weights has errors of its own
        raise ModelError(folder, f"its weights cannot be loaded: {error}") from error
    if report["missing_keys"]:  # they would be drawn at random, with a warning only
        missing = sorted(report["missing_keys"])
        raise ModelError(folder, f"lacks {len(missing)} weights; the first is {missing[0]}")
    refuse_left_over(folder, [key for key in report["unexpected_keys"] if not is_unused(key, entry)])
    _check_tied(folder, model)
    tune_memory(weight_bytes(model))
    return model.eval()


def check_weights(folder: Path) -> None:
    """Refuse a whole folder whose files are not exactly the model of its config.json, ``.bin`` files too.

    Raises:
        ModelError: As :func:`babelscope.models.tensors.check_tensors`, or if a file cannot be read.
        StudyError: If the architecture is unknown.
    """
    if check_tensors(folder) is not None:
        return
    stored: dict[str, Stored] = {}
    for file in weight_files(folder):
        try:
            tensors = torch.load(file, map_location="meta", weights_only=True)
        except Exception as error:  # a damaged file has errors of many kinds
            raise ModelError(file, f"its weights cannot be loaded: {error}") from error
        if not isinstance(tensors, Mapping) or not all(isinstance(name, str) for name in tensors):
            raise ModelError(file, "holds no tensors by name")
        for name, tensor in tensors.items():
            if name in stored:
                raise ModelError(file, f"holds {name}, which {stored[name].file.name} holds too")
            if isinstance(tensor, torch.Tensor):
                type_ = _SHORT.get(tensor.dtype, str(tensor.dtype).removeprefix("torch."))
                stored[name] = Stored(file, type_, tuple(tensor.shape))
    check_index(folder, stored)
    check_stored(folder, read_config(folder), stored)


def _check_tied(folder: Path, model: Any) -> None:
    """Refuse a head of its own where the config says that it is the word embeddings.

    Raises:
        ModelError: If their values differ; transformers would run the model untied, with a warning only.
    """
    head, words = model.get_output_embeddings(), model.get_input_embeddings()
    tied = getattr(model.config, "tie_word_embeddings", False) and head is not None and words is not None
    if not tied or head.weight is words.weight:
        return
    if head.weight.shape != words.weight.shape or not torch.equal(head.weight.cpu(), words.weight.cpu()):
        problem = "its head differs from its word embeddings, and config.json has tie_word_embeddings"
        raise ModelError(
            folder, problem, "say tie_word_embeddings: false, if the head was trained on its own"
        )


def weight_bytes(model: nn.Module) -> int:
    """Memory that the weights of a model take, tied ones once."""
    return sum(weights.numel() * weights.element_size() for weights in model.parameters())


def auto_class(config: Mapping[str, Any]) -> Any:
    """The class of transformers that gives a model its language head."""
    with _without_scipy():
        from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, modeling_utils  # noqa: F401

    return AutoModelForMaskedLM if is_encoder(config) else AutoModelForCausalLM


@contextmanager
def _without_scipy() -> Iterator[None]:
    """Keep transformers from importing scipy with its model classes.

    It would do so for the losses of image detection, which takes a seventh of the start of a job and 36 MB.
    """
    from transformers import utils
    from transformers.utils import import_utils

    modules: list[Any] = [utils, import_utils]
    found = modules[0].is_scipy_available
    try:
        for module in modules:
            module.is_scipy_available = lambda: False
        yield
    finally:
        for module in modules:
            module.is_scipy_available = found


def load_tokenizer(folder: Path | str) -> Any:
    """Load the tokenizer of a local folder. Runs no code of the folder.

    Raises:
        ModelError: If there is none or it cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(folder, "no such folder of a tokenizer")
    tokenizer_files(folder)

    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if not _reads_as_written(tokenizer, folder):
            # Beside the config of some models (Qwen2) transformers takes the class of their own
            # tokenizer, which cuts text in its own way, whatever tokenizer.json says.
            name = type(tokenizer).__name__
            logger.warning("%s: %s does not cut text as tokenizer.json says; the file is used", folder, name)
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # each kind of tokenizer has errors of its own
        raise ModelError(folder, f"its tokenizer cannot be loaded: {error}") from error
    if not _reads_as_written(tokenizer, folder):
        raise ModelError(folder, "its tokenizer does not cut text as tokenizer.json says")
    return tokenizer


def _reads_as_written(tokenizer: Any, folder: Path) -> bool:
    """Whether a tokenizer gives what ``tokenizer.json`` gives, if there is one."""
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        return True
    written = Tokenizer.from_file(str(file)).encode(_PROBE, add_special_tokens=False).ids
    return bool(tokenizer(_PROBE, add_special_tokens=False)["input_ids"] == written)


def save_model(model: Any, tokenizer: Any, folder: Path | str) -> None:
    """Write a model and its tokenizer as a Hugging Face folder.

    The files come under their names only when all are written, the weights last.

    Args:
        model: A causal language model of transformers.
        tokenizer: A tokenizer of transformers, or the folder of one.
        folder: Where to; other files in it stay.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_name(folder / ".model")
    try:
        model.save_pretrained(unfinished)
        if isinstance(tokenizer, (str, Path)):
            for file in tokenizer_files(Path(tokenizer)):
                shutil.copyfile(file, unfinished / file.name)
        else:
            tokenizer.save_pretrained(unfinished)
        files = sorted(unfinished.iterdir(), key=lambda file: (file.suffix == ".safetensors", file))
        for file in files:
            give_usual_mode(file)
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def initialise_checkpoint(folder: Path, *, tokenizer: Path, out: Path, seed: int) -> None:
    """Write a model of the same sizes with random weights: step 0 of a series that does not publish one.

    It is a baseline for what weights as the class draws them show, not the model that the training started
    from: its seed, and often its initialisation, are not known.

    Args:
        folder: A checkpoint, for its config.
        tokenizer: Folder of its tokenizer.
        out: Hugging Face folder to write.
        seed: Of the weights.

    Raises:
        ModelError: If the config cannot be used.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    torch.manual_seed(seed)
    # In float32, whatever the series is stored in: 16 bits would round the random numbers.
    model = auto_class(read_config(folder)).from_config(config, dtype=torch.float32)
    load_tokenizer(tokenizer)
    save_model(model, tokenizer, out)


def start_token(tokenizer: Any, model: nn.Module | None = None) -> int:
    """The token that every input starts with.

    The special token that the tokenizer itself puts first (XGLM's is ``</s>``, Llama's ``<s>``); if
    it puts none (BLOOM, GPT-2), its beginning-of-text token; else its end-of-text token; else what
    the model's config names as such.

    Args:
        tokenizer: A tokenizer of transformers.
        model: Asked last.

    Raises:
        StudyError: If there is no such token.
    """
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    if full[1 : 1 + len(bare)] == bare and full[0] in tokenizer.all_special_ids:
        return int(full[0])
    owners = (tokenizer, getattr(model, "config", None))
    return _named_token(owners, ("bos_token_id", "eos_token_id"), "a tokenizer with a bos or eos token")


def end_token(tokenizer: Any) -> int:
    """The special token that the tokenizer puts last: BERT's ``[SEP]``, XLM-R's ``</s>``.

    Raises:
        StudyError: If there is no such token.
    """
    full = tokenizer("a")["input_ids"]
    if len(full) > 1 and full[-1] in tokenizer.all_special_ids:
        return int(full[-1])
    allowed = "a tokenizer with a sep or eos token, since an encoder's inputs end with one"
    return _named_token((tokenizer,), ("sep_token_id", "eos_token_id"), allowed)


def _named_token(owners: Sequence[Any], names: Sequence[str], allowed: str) -> int:
    for owner in owners:
        for name in names:
            found = getattr(owner, name, None)
            if isinstance(found, int):
                return found
    raise StudyError("tokenizer", type(owners[0]).__name__, allowed, "add it to tokenizer_config.json")


def resolve_device(device: str) -> str:
    """``cuda``, ``cpu`` or ``spread``; ``auto`` is cuda if there is one.

    Raises:
        StudyError: If it is unknown or not there.
    """
    there = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if there else "cpu"
    if device not in ("cpu", "cuda", "spread"):
        raise StudyError("extraction.device", device, "auto, cpu, cuda, spread")
    if device != "cpu" and not there:
        raise StudyError("extraction.device", device, "auto or cpu", "this machine shows no CUDA device")
    return device
