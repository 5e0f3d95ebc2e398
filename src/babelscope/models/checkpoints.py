"""Models and tokenizers from local folders in Hugging Face format, and back."""

from __future__ import annotations

import logging
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from babelscope.errors import ModelError, StudyError
from babelscope.io.files import give_usual_mode, unfinished_name
from babelscope.models.architectures import architecture, is_encoder
from babelscope.models.dictionaries import DictionaryPlace, files_hash, read_dictionary, widths_of
from babelscope.models.dimensions import DICTIONARIES
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
from babelscope.models.latents import attach
from babelscope.models.mapped_files import pages_dropped
from babelscope.models.other_formats import other_format
from babelscope.models.pickled import not_opened
from babelscope.models.tensors import (
    Stored,
    check_index,
    check_stored,
    check_tensors,
    is_of_head,
    is_unused,
    refuse_left_over,
)
from babelscope.models.tokenizer_files import special_tokens, written_tokenizer
from babelscope.models.wrappers import INSIDE, WRAPPERS, text_name
from babelscope.runtime import tune_memory

logger = logging.getLogger(__name__)

_AS_THE_FILE = "save the tokenizer once more with transformers (save_pretrained), and try it"
#: Texts on which tokenizers differ if they do: spaces, digits, signs, cases, ways to write accents, scripts.
PROBES = (
    "The old  house, 1,234 km from here: el río, die Straße; дом и вода. 水在河里 घर पानी ماء\n",
    "I'm sure WE'LL don't; it's “so” … e-mail@site.org #1 (50%) [a_b] {x}=3.14e-10/7 €9 ½ x²",
    "1 12 123 1234 12345 123456789012 007 1.000.000 \u0661\u0662\u0663 १२३ 四十二",
    "  two   three    four     five\ttab\t\ttabs \n\nlines\r\n\n\n  \u00a0\u3000\u2009end  ",
    "cafe\u0301 café İs \ufb01n \uff21\uff22 nai\u0308ve ấn Ångström ßẞ a\u200bb\u200dc\u00adhyphen \ufeff",
    "😀👩\u200d👩\u200d👧 🇩🇪 บ้าน 집에 いえカラ \u05d1\u05b7\u05bc\u05d9\u05b4\u05ea ተማሪ க்ஷ სახლი 𐐀",
    "def f(x):\n    return x**2  # <tag> &amp; https://a.b/c?d=e&f=%20 \\n \x07 \u0000 \ufffd",
    "a" * 300 + " " * 40 + "水" * 60 + "!" * 30 + "\n" * 12,
)
#: Types by the names that safetensors has for them.
_SHORT = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
#: What a config may ask otherwise, and what runs here counts on.
_OUTPUTS = {"return_dict": True, "output_hidden_states": False, "output_attentions": False}
_DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to run, and where it comes from."""

    model: Any = field(repr=False)
    """A language model of transformers with its head, in eval mode."""
    tokenizer: Any = field(repr=False)
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
    dictionaries_hash: str = ""
    """Over all files of dictionaries, by name and layer; empty without one."""

    @property
    def config(self) -> dict[str, Any]:
        """As in ``config.json``, with every default filled in, and what is known of its dictionaries."""
        return dict(self.model.config.to_dict())

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return torch.device(self.model.device)


def load_checkpoint(
    folder: Path | str,
    *,
    tokenizer: Path | str | None = None,
    dtype: str = "float32",
    device: str = "auto",
    dictionaries: Iterable[Mapping[str, Any]] = (),
) -> LoadedModel:
    """Load a model with its tokenizer.

    Args:
        folder: Hugging Face folder with the weights.
        tokenizer: Folder of the tokenizer; the same one by default.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto`` (cuda if there is one), ``cpu``, ``cuda``, or ``spread`` (over all GPUs).
        dictionaries: Dictionaries whose latents are units: the fields of
            :class:`babelscope.models.dictionaries.DictionaryPlace`.

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
    places = [DictionaryPlace(**each) for each in dictionaries]
    if places:
        found = [read_dictionary(place, read_config(folder)) for place in places]
        attach(model, found)
        setattr(model.config, DICTIONARIES, widths_of(found))
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
        dictionaries_hash=files_hash(places),
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
    problem = is_complete(folder)
    if problem is not None:
        other = other_format(folder)
        more = f"; it holds {other.what}" if other else ""
        raise ModelError(folder, f"is not whole: {problem}{more}", other.how if other else "")
    config = read_config(folder)
    entry = architecture(config.get("model_type"))
    check_weights(folder)

    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    files = weight_files(folder)
    # Weights that are not cast stay where the file is mapped; then its pages are the model.
    mapped = files if stored_type(folder) != dtype else []
    try:
        with pages_dropped(mapped), _without_reports():
            model, report = auto_class(config).from_pretrained(
                folder,
                dtype=_DTYPES[dtype],
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                use_safetensors=files[0].suffix == ".safetensors",
                weights_only=True,
                **_how_to_read(folder, config),
                # Straight to its place, without a copy in the host's memory on the way to a GPU.
                device_map="auto" if where == "spread" else {"": where},
            )
    except Exception as error:  # each format of weights has errors of its own
        raise ModelError(folder, f"its weights cannot be loaded: {error}") from error
    # They would be drawn at random, with a warning only; those of an encoder's head are never run.
    if missing := sorted(key for key in report["missing_keys"] if not is_of_head(key, entry)):
        raise ModelError(folder, f"lacks {len(missing)} weights; the first is {missing[0]}")
    unexpected = [text for key in report["unexpected_keys"] if (text := text_name(key, config)) is not None]
    refuse_left_over(folder, [name for name in unexpected if not is_unused(name, entry)])
    _check_tied(folder, model)
    tune_memory(weight_bytes(model))
    return model.eval()


def _how_to_read(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """What ``from_pretrained`` is told besides: of a wrapper its text model, and where its tensors are."""
    if INSIDE not in config:
        return _OUTPUTS
    inner = _config_of_model(folder, config)
    inner.update(_OUTPUTS)
    names = WRAPPERS[config[INSIDE]]["names"]
    return {
        "config": inner,
        "key_mapping": {f"^{re.escape(begin)}": instead for begin, instead in names.items()},
    }


def _config_of_model(folder: Path, config: Mapping[str, Any]) -> Any:
    """The config of transformers of a folder's model; of a wrapper that of its text model alone."""
    from transformers import AutoConfig

    whole = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if INSIDE not in config:
        return whole
    text = {**whole.get_text_config().to_dict(), "tie_word_embeddings": config["tie_word_embeddings"]}
    # Of text alone all sections of Qwen's positions in time, height and width are the same: plain rotation.
    rotation = text.get("rope_parameters") or {}
    text["rope_parameters"] = {key: value for key, value in rotation.items() if not key.startswith("mrope_")}
    text.pop("model_type")
    return AutoConfig.for_model(config["model_type"], **text)


def check_weights(folder: Path) -> None:
    """Refuse a whole folder whose files are not exactly the model of its config.json, ``.bin`` files too.

    Raises:
        ModelError: As :func:`babelscope.models.tensors.check_tensors`, or if a file cannot be read.
        StudyError: If the architecture is unknown.
    """
    known = check_tensors(folder) is not None
    if known and weight_files(folder)[0].suffix == ".safetensors":
        return
    stored: dict[str, Stored] = {}
    for file in weight_files(folder):
        try:
            tensors = torch.load(file, map_location="meta", weights_only=True)
        except pickle.UnpicklingError as error:
            asked = re.search(r"GLOBAL (\S+)", str(error))
            raise not_opened(
                file, f"asks for {asked[1]}" if asked else "cannot be read as tensors"
            ) from error
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


@contextmanager
def _without_reports() -> Iterator[None]:
    """Keep transformers from reporting weights that it misses or does not use: both are seen to here."""
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


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

    told = _told_by_the_file(folder)
    if told is None:
        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # each kind of tokenizer has errors of its own
            raise ModelError(folder, f"its tokenizer cannot be loaded: {error}") from error
    # Beside the config of some models (Qwen2) transformers takes the class of their own tokenizer, which cuts
    # text in its own way, whatever tokenizer.json says, adds tokens of its own, or fails.
    fast: Any = PreTrainedTokenizerFast
    ways: list[Callable[[], Any]] = [
        lambda: AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
        lambda: fast.from_pretrained(folder, local_files_only=True),
        lambda: fast(tokenizer_object=written_tokenizer(folder), **_roles(folder, told)),
    ]
    why = []
    for way in ways:
        try:
            tokenizer = way()
            differs = _difference(tokenizer, told)
        except Exception as error:  # each kind of tokenizer has errors of its own
            differs = f"cannot be loaded: {error}"
        if differs:
            why.append(differs)
            continue
        if why:
            logger.warning("%s: the tokenizer of its model type %s; the file is used", folder, why[0])
        return tokenizer
    raise ModelError(folder, f"its tokenizer {why[-1]}", _AS_THE_FILE)


class _Told(NamedTuple):
    """What ``tokenizer.json`` says."""

    ids: list[list[int]]
    """Of each probe."""
    vocabulary: frozenset[str]


def _told_by_the_file(folder: Path) -> _Told | None:
    """What ``tokenizer.json`` says, by the library of tokenizers alone; None if there is none.

    That tokenizer goes again before another is made of the file: a large one takes half a gigabyte.
    """
    written = written_tokenizer(folder)
    if written is None:
        return None
    ids = [written.encode(text, add_special_tokens=False).ids for text in PROBES]
    return _Told(ids, frozenset(written.get_vocab(with_added_tokens=True)))


def _roles(folder: Path, told: _Told) -> dict[str, str]:
    """The special tokens that ``tokenizer.json`` has, by the roles that settings give them."""
    named = special_tokens(folder).items()
    return {key: token for key, token in named if isinstance(token, str) and token in told.vocabulary}


def _difference(tokenizer: Any, told: _Told) -> str:
    """In what a tokenizer differs from ``tokenizer.json``, in words; empty if in nothing."""
    for text, ids in zip(PROBES, told.ids, strict=True):
        if tokenizer(text, add_special_tokens=False)["input_ids"] != ids:
            return "does not cut text as tokenizer.json says"
    added = sorted(tokenizer.get_vocab().keys() - told.vocabulary)
    return f"adds tokens that tokenizer.json has not, such as {added[0]!r}" if added else ""


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
    known = read_config(folder)
    config = _config_of_model(folder, known)
    torch.manual_seed(seed)
    # In float32, whatever the series is stored in: 16 bits would round the random numbers.
    model = auto_class(known).from_config(config, dtype=torch.float32)
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
