"""Dictionaries of latents, as their files describe them: sparse autoencoders and transcoders. Needs no torch.

A dictionary reads one place of a block and gives many latents, few of which are active. Its name in a study
is a site like others, and each latent is a unit. What is known of it is read from headers alone, while a
study is planned; what is not understood is refused: latents that are computed otherwise are other latents.

========= ==================================== =====================================================
layout    files                                how latents are computed is said by
========= ==================================== =====================================================
SAELens   sae_weights.safetensors, cfg.json    cfg.json
sparsify  sae.safetensors, cfg.json            cfg.json
Gemma     params.npz or params.safetensors     the layout: JumpReLU, no bias is subtracted
Scope
any       one file of safetensors or npz with  the study: ``kind``, ``k``, ``subtract_bias``
          the names of SAELens or sparsify
========= ==================================== =====================================================
"""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from babelscope.complaints import NAME_PATTERN, PATH_SAFE
from babelscope.errors import DataError, ModelError, StudyError
from babelscope.io.files import file_sha256
from babelscope.io.json import read_json
from babelscope.models.architectures import SITES, architecture
from babelscope.models.dimensions import dimensions, site_widths
from babelscope.models.files import combined_hash, read_header
from babelscope.settings import EACH_ONCE, LIST, Count, Settings, Step, Template

Kind = Literal["relu", "jumprelu", "topk"]
ReadAt = Literal["resid", "attn_out", "mlp_out", "mlp_act", "mlp_input"]
Norm = Literal["none", "layer_norm", "constant_norm_rescale"]

SAELENS, SPARSIFY, SCOPE = "sae_weights.safetensors", "sae.safetensors", ("params.npz", "params.safetensors")
#: What a path may hold in braces.
FIELDS = ("layer", "block", "step", "data")
_CONFIG = "cfg.json"
_TRANSCODERS = {
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
_ARCHITECTURES = {"standard": "relu", "jumprelu": "jumprelu", "topk": "topk", **_TRANSCODERS}
#: Where SAELens says that a dictionary was trained, in the names of TransformerLens, whose blocks begin at 0:
#: the site, and what its layer is beyond the block.
_HOOKS = {
    "hook_resid_pre": ("resid", 0),
    "hook_resid_post": ("resid", 1),
    "hook_attn_out": ("attn_out", 1),
    "hook_mlp_out": ("mlp_out", 1),
    "mlp.hook_post": ("mlp_act", 1),
}
#: Tensors of each layout by what they are.
_PLAIN = {
    "encoder": "W_enc",
    "bias": "b_enc",
    "decoder": "W_dec",
    "output_bias": "b_dec",
    "threshold": "threshold",
    "skip": "W_skip",
}
_LINEAR = {role: _PLAIN[role] for role in ("decoder", "output_bias", "skip")}
_LAYOUTS: tuple[dict[str, str], ...] = (
    _PLAIN,
    {**_PLAIN, "encoder": "w_enc", "decoder": "w_dec", "skip": "affine_skip_connection"},
    {**_LINEAR, "encoder": "encoder.weight", "bias": "encoder.bias"},
)
_FLOATS = ("F64", "F32", "F16", "BF16")
_MOST_LATENTS = 10_000_000
#: What a damaged or hostile file may end in.
_BROKEN = (
    *(OSError, ValueError, LookupError, TypeError, RuntimeError, EOFError, ArithmeticError),
    *(zipfile.BadZipFile, zlib.error),
)

_FOLD = "load it with SAELens, call fold_activation_norm_scaling_factor(...), and save it with save_model"
_LLAMA_SCOPE = (
    "its inputs are scaled by a statistic of its data: load it with SAELens (SAE.from_pretrained), which "
    "folds that in, and save it with save_model"
)


class DictionarySettings(Settings):
    """A sparse autoencoder or transcoder at some layers; its name may stand in extraction.sites."""

    path: Template
    """Its file or folder, with {layer} or {block} (blocks count from 0, so it is the layer - 1), {step} if
    each step has its own, and maybe {data}."""
    site: ReadAt
    """What it reads: a site, see docs/methods.md, or `mlp_input`, the input of the MLP's first map, for
    transcoders."""
    layers: Annotated[tuple[Step, ...], LIST, Field(min_length=1), *EACH_ONCE] | None = None
    """Layers that have one, 0 (of resid) to the last; 1 to the last if not given."""
    kind: Kind | None = None
    """What follows the encoder's map, where no cfg.json beside the weights says it."""
    k: Count | None = None
    """Latents of a token that stay, of kind topk, where no cfg.json says it."""
    subtract_bias: bool | None = None
    """Whether the decoder's bias is subtracted from what is read, where no cfg.json says it."""

    def layers_of(self, last: int) -> tuple[int, ...]:
        """Its layers in a model of so many."""
        return self.layers or tuple(range(1, last + 1))

    def at(self, name: str, layer: int, **known: Any) -> DictionaryPlace:
        """The dictionary of a layer; ``known`` are the other fields of the path."""
        path = self.path.format(layer=layer, block=layer - 1, **known)
        return DictionaryPlace(name, layer, path, self.site, self.kind, self.k, self.subtract_bias)


@dataclass(frozen=True)
class DictionaryPlace:
    """Where the dictionary of a layer lies, and what a study says of it; see :class:`DictionarySettings`."""

    name: str
    layer: int
    path: str
    site: ReadAt
    kind: Kind | None = None
    k: int | None = None
    subtract_bias: bool | None = None

    def as_param(self) -> dict[str, Any]:
        """As plain values, without what is not given."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Dictionary:
    """The dictionary of one layer, as its file has it."""

    place: DictionaryPlace
    file: Path
    """The weights."""
    names: Mapping[str, str]
    """Tensors by what they are: ``encoder``, ``bias``, ``decoder``, ``output_bias``, ``threshold``."""
    by_latent: bool
    """Whether the encoder's map has a row per latent, as torch's linear maps have; else a column."""
    width: int
    """Of what it reads."""
    n_latents: int
    kind: Kind
    k: int = 0
    subtract_bias: bool = False
    norm: Norm = "none"
    by_decoder_norm: bool = False
    """Whether latents are counted in lengths of their decoder's direction."""

    @property
    def sort(self) -> tuple[Any, ...]:
        """What must be the same at every step."""
        return (self.width, self.n_latents, self.kind, self.k, self.subtract_bias, self.norm)


def check_dictionary(
    name: str, settings: DictionarySettings, last: int, key: str, *, fields: Sequence[str] = FIELDS
) -> None:
    """Refuse names, layers and paths that a dictionary cannot have.

    Args:
        name: Its name.
        settings: What is said of it.
        last: The last layer of the model.
        key: Where it stands, for errors.
        fields: What its path may hold in braces.

    Raises:
        StudyError: Naming the key, the value given, what is allowed and a hint.
    """
    taken = dict.fromkeys((*SITES, *get_args(ReadAt)))
    if name in taken or not re.fullmatch(NAME_PATTERN, name):
        allowed = f"{PATH_SAFE}, and no site: {', '.join(taken)}"
        raise StudyError(key, name, allowed, "call it sae or transcoder")
    lowest = 0 if settings.site == "resid" else 1
    layers = settings.layers_of(last)
    for layer in layers:
        if not lowest <= layer <= last:
            allowed = f"layers of the model at {settings.site}, {lowest} to {last}"
            raise StudyError(f"{key}.layers", layer, allowed)
    found = {field for _, field, _, _ in Formatter().parse(settings.path) if field is not None}
    if unknown := sorted(found - set(fields)):
        allowed = f"a path with {', '.join(f'{{{each}}}' for each in fields)}"
        raise StudyError(f"{key}.path", settings.path, allowed, f"{unknown[0]!r} is not one of them")
    if len(layers) > 1 and not found & {"layer", "block"}:
        allowed = "a path with {layer} or {block}, which tells the files of its layers apart"
        raise StudyError(f"{key}.path", settings.path, allowed, "or name its one layer in `layers`")
    if 0 in layers and "block" in found:
        raise StudyError(f"{key}.path", settings.path, "a path with {layer}", "layer 0 is of no block")


def files_of(place: DictionaryPlace) -> list[Path]:
    """The files that a dictionary is read from: its weights, and its config if it has one.

    Raises:
        ModelError: If there are none, or several.
    """
    path = Path(place.path)
    hint = "the path is relative to the working directory; name the layers that have one in `layers`"
    if path.is_file():
        named = path
    elif path.is_dir():
        found = [name for name in (SAELENS, SPARSIFY, *SCOPE) if (path / name).is_file()]
        if not found:
            refuse_others(path)
        if len(found) != 1:
            allowed = f"one of {', '.join((SAELENS, SPARSIFY, *SCOPE))}"
            problem = f"holds {' and '.join(found)}" if found else "holds no dictionary"
            raise ModelError(path, f"{problem}; allowed: {allowed}", "or name the file itself")
        named = path / found[0]
    else:
        raise ModelError(path, f"is not there: the dictionary {place.name} of layer {place.layer}", hint)
    if named.suffix not in (".safetensors", ".npz"):
        raise ModelError(
            named,
            f"is no file of safetensors or npz, but {named.suffix or 'without an ending'}",
            "a pickle would run what its author put into it, and is not opened: save safetensors",
        )
    config = named.with_name(_CONFIG)
    own = named.name in (SAELENS, SPARSIFY)
    if own and not config.is_file():
        raise ModelError(named, f"has no {_CONFIG} beside it, which says how latents are computed")
    return [named, config] if own else [named]


def refuse_others(folder: Path) -> None:
    """Say what to do about layouts that are known and not read."""
    if (folder / "hyperparams.json").is_file():
        raise ModelError(
            folder, "is in the layout of Llama Scope (hyperparams.json), which is not read", _LLAMA_SCOPE
        )
    if any(folder.glob("*.pt")):
        hint = "load it with the library that wrote it, and save W_enc, b_enc, W_dec and b_dec as safetensors"
        raise ModelError(folder, "holds a dictionary as a pickle (.pt), which is not opened", hint)


def read_dictionary(place: DictionaryPlace, config: Mapping[str, Any]) -> Dictionary:
    """What the files of a dictionary say, compared with the model that it is for.

    Args:
        place: Where it lies.
        config: Of the model, as :func:`babelscope.models.dimensions.dimensions` takes it.

    Raises:
        ModelError: If a file is missing, damaged or of another model, or latents are computed in a way that
            is not known; naming the file, the key and what is allowed.
        StudyError: If the architecture is unknown.
    """
    file, *beside = files_of(place)
    shapes = _shapes(file)
    names = _roles(file, shapes)
    by_latent, shape = names["encoder"] == "encoder.weight", shapes[names["encoder"]]
    if len(shape) != 2:
        raise ModelError(file, f"{names['encoder']} has the shape {list(shape)}; allowed: a matrix")
    rows, columns = shape[::-1] if by_latent else shape
    found = _Found(place, file, _read_config(beside[0]) if beside else None, "threshold" in names)
    dictionary = Dictionary(
        place=place, file=file, names=names, by_latent=by_latent, width=rows, n_latents=columns, **found.how()
    )  # fmt: skip
    _check_shapes(dictionary, shapes, config)
    _check_model(dictionary, config)
    return dictionary


def widths_of(dictionaries: Iterable[Dictionary]) -> dict[str, dict[str, dict[int, int]]]:
    """Latents and width of what is read, by layer: see
    :data:`babelscope.models.dimensions.DICTIONARIES`."""
    found: dict[str, dict[str, dict[int, int]]] = {}
    for each in dictionaries:
        of = found.setdefault(each.place.name, {"latents": {}, "reads": {}})
        of["latents"][each.place.layer] = each.n_latents
        of["reads"][each.place.layer] = each.width
    return found


def files_hash(places: Iterable[DictionaryPlace]) -> str:
    """One hash over the files of dictionaries, by name and layer; empty if there are none.

    Raises:
        ModelError: If one is not there.
    """
    ordered = sorted(places, key=lambda place: (place.name, place.layer))
    files = [file for place in ordered for file in files_of(place)]
    return combined_hash(map(file_sha256, files)) if files else ""


# ------------------------------------------------------------------------------------ tensors


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a file by name, from its headers."""
    try:
        read = [*(_npz_headers(file) if file.suffix == ".npz" else _safetensors_headers(file))]
        found = dict(read)
        if len(found) < len(read):
            raise ValueError("a name stands in it twice")
    except _BROKEN as error:
        raise ModelError(file, f"has no readable header ({error!r})") from error
    for name, (type_, shape) in found.items():
        if type_ not in _FLOATS:
            raise ModelError(file, f"{name} is of type {type_}; allowed: {', '.join(_FLOATS)}")
        if len(shape) not in (1, 2) or not all(0 < size <= _MOST_LATENTS for size in shape):
            raise ModelError(file, f"{name} has the shape {list(shape)}; allowed: a vector or a matrix")
    return {name: shape for name, (_, shape) in found.items()}


def _safetensors_headers(file: Path) -> Iterator[tuple[str, tuple[str, tuple[int, ...]]]]:
    header, size = read_header(file), file.stat().st_size
    with file.open("rb") as content:
        start = 8 + int.from_bytes(content.read(8), "little")
    expected = start + max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
    if size != expected:
        raise ValueError(f"it is cut off: {size} of {expected} bytes")
    for name, entry in header.items():
        yield name, (str(entry["dtype"]), tuple(int(size) for size in entry["shape"]))


def _npz_headers(file: Path) -> Iterator[tuple[str, tuple[str, tuple[int, ...]]]]:
    from numpy.lib import format as npy  # planning does not wait for numpy where there is no such file

    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as content:
                version = npy.read_magic(content)
                reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
                shape, _, dtype = reader(content)
                size = content.tell() + math.prod(shape) * dtype.itemsize
            if dtype.hasobject or size != entry.file_size:
                raise ValueError(f"{entry.filename} holds objects or is not as long as its header says")
            name = entry.filename.removesuffix(".npy")
            yield name, (f"{dtype.kind.upper()}{8 * dtype.itemsize}", tuple(int(size) for size in shape))


def _roles(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Names of the tensors by what they are; nothing may be lacking or left over."""
    layout = next((each for each in _LAYOUTS if each["encoder"] in shapes), None)
    if layout is None:
        encoders = ", ".join(each["encoder"] for each in _LAYOUTS)
        hint = _LLAMA_SCOPE if "decoder.weight" in shapes else ""
        raise ModelError(file, f"holds {_some(shapes)}; allowed: an encoder, {encoders}", hint)
    if lacking := [layout[role] for role in ("bias", "decoder", "output_bias") if layout[role] not in shapes]:
        hint = _LLAMA_SCOPE if "decoder.weight" in shapes else ""
        raise ModelError(file, f"lacks {lacking[0]}; it holds {_some(shapes)}", hint)
    if extra := sorted(shapes.keys() - set(layout.values())):
        gated = any(name in ("b_gate", "r_mag", "b_mag") for name in extra)
        what = "it is a gated autoencoder, which is not known here" if gated else "what they do is not known"
        allowed = ", ".join(layout.values())
        raise ModelError(file, f"holds {_some(extra)} besides; allowed: {allowed}", what)
    return {role: name for role, name in layout.items() if name in shapes}


def _some(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:6]) + (", ..." if len(found) > 6 else "") if found else "nothing"


def _check_shapes(
    dictionary: Dictionary, shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]
) -> None:
    """Every tensor fits the encoder's map, and that fits the model."""
    place, file, names = dictionary.place, dictionary.file, dictionary.names
    width, n = dictionary.width, dictionary.n_latents
    hidden = dimensions(config).hidden
    read = hidden if place.site == "mlp_input" else max(site_widths(config, [place.site]).values())
    written = hidden if place.site == "mlp_input" else read
    if width != read:
        problem = (
            f"{names['encoder']} reads {width} values; allowed: {read}, as wide as {place.site} of the model"
        )
        raise ModelError(file, problem, "is it the dictionary of this model, and of this site?")
    wanted = {
        "bias": (n,), "threshold": (n,), "decoder": (n, written), "output_bias": (written,),
        "skip": (written, read),
    }  # fmt: skip
    for role, name in names.items():
        if role != "encoder" and shapes[name] != wanted[role]:
            problem = f"{name} has the shape {list(shapes[name])}; allowed: {list(wanted[role])}"
            raise ModelError(file, f"{problem}, by the shape of {names['encoder']}")
    if dictionary.k > n:
        raise ModelError(file, f"k is {dictionary.k}; allowed: at most its {n} latents")


# ------------------------------------------------------------------------------------- config


def _read_config(file: Path) -> dict[str, Any]:
    try:
        return dict(read_json(file))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(file, f"cannot be read as the config of a dictionary: {error}") from error


@dataclass(frozen=True)
class _Found:
    """What a layout, its config and the study say of how latents are computed."""

    place: DictionaryPlace
    file: Path
    config: dict[str, Any] | None
    has_threshold: bool

    def how(self) -> dict[str, Any]:
        """The fields of :class:`Dictionary` that say it."""
        if self.file.name == SAELENS:
            how = self._saelens()
        elif self.file.name == SPARSIFY:
            how = self._sparsify()
        elif self.file.name in SCOPE:
            how = {"kind": "jumprelu", "subtract_bias": False}
        else:
            how = {"kind": self.place.kind, "k": self.place.k or 0, "subtract_bias": self.place.subtract_bias}
            self._check_told(how)
        for key in ("kind", "k", "subtract_bias"):
            told = getattr(self.place, key)
            if told is not None and told != how.get(key, 0):
                problem = f"{key} is {how.get(key, 0)!r} here; the study says {told!r}"
                raise ModelError(self.file, problem, f"take `{key}` out of the study")
        if (how["kind"] == "jumprelu") != self.has_threshold:
            has = "holds a threshold" if self.has_threshold else "holds no threshold"
            raise ModelError(self.file, f"{has}, and its kind is {how['kind']}; only jumprelu has one")
        return how

    def _check_told(self, how: Mapping[str, Any]) -> None:
        for key, allowed in (("kind", ", ".join(get_args(Kind))), ("subtract_bias", "true or false")):
            if how[key] is None:
                hint = f"say `{key}` beside the path; how it was trained tells it"
                raise ModelError(self.file, f"no {_CONFIG} says its `{key}`; allowed: {allowed}", hint)
        if (how["kind"] == "topk") != (how["k"] > 0):
            raise ModelError(
                self.file, f"`k` is {how['k'] or None} and kind {how['kind']}; allowed: k of kind topk"
            )

    def _refuse(self, key: str, given: Any, allowed: str, hint: str = "") -> DataError:
        return ModelError(self.file.with_name(_CONFIG), f"{key} is {given!r}; allowed: {allowed}", hint)

    def _only(self, config: Mapping[str, Any], key: str, allowed: tuple[Any, ...], hint: str = "") -> None:
        """Refuse a value that would change latents in a way that is not known."""
        if key in config and config[key] not in allowed:
            raise self._refuse(key, config[key], " or ".join(map(repr, allowed)), hint)

    def _count(self, config: Mapping[str, Any], key: str) -> int:
        value = config.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._refuse(key, value, "a whole number, 1 or more")
        return value

    def _saelens(self) -> dict[str, Any]:
        config = self.config or {}
        about = {**config, **(config.get("metadata") or {})}
        name = config.get("architecture", "standard")
        if name not in _ARCHITECTURES:
            hint = "a gated autoencoder is not known here" if name == "gated" else ""
            raise self._refuse("architecture", name, ", ".join(_ARCHITECTURES), hint)
        kind = _ARCHITECTURES[name]
        function = config.get("activation_fn", config.get("activation_fn_str", "relu"))
        of_function = config.get("activation_fn_kwargs") or {}
        if function not in ("relu", "topk"):
            raise self._refuse("activation_fn", function, "relu, topk")
        if function == "topk":  # of SAELens before 6
            if kind != "relu" or name in _TRANSCODERS:
                raise self._refuse("activation_fn", function, f"relu, of architecture {name}")
            kind, config = "topk", {**config, "k": of_function.get("k")}
        if name in _TRANSCODERS and self.place.site != "mlp_input":
            raise self._refuse(
                "architecture", name, f"an autoencoder at {self.place.site}; a transcoder reads mlp_input"
            )
        if name not in _TRANSCODERS and self.place.site == "mlp_input":
            raise self._refuse("architecture", name, "a transcoder at mlp_input, such as transcoder")
        norm = config.get("normalize_activations") or "none"
        if norm not in get_args(Norm):
            needs_data = norm is True or norm == "expected_average_only_in"
            hint = f"it scales by a statistic of its data: {_FOLD}" if needs_data else ""
            raise self._refuse("normalize_activations", norm, ", ".join(get_args(Norm)), hint)
        for key in ("hook_head_index", "hook_point_head_index"):
            self._only(about, key, (None,), "a dictionary of one head is not known here")
        self._only(
            config, "reshape_activations", ("none",), "what a head gives before the last map is no site here"
        )
        kwargs = about.get("model_from_pretrained_kwargs") or {}
        if isinstance(kwargs, Mapping) and kwargs.get("center_writing_weights"):
            hint = "it was trained on a model whose residual stream was centred, which is another one"
            raise self._refuse("model_from_pretrained_kwargs", kwargs, "center_writing_weights: false", hint)
        self._check_hook(about.get("hook_name", about.get("hook_point")))
        subtract = config.get("apply_b_dec_to_input", True)
        if not isinstance(subtract, bool):
            raise self._refuse("apply_b_dec_to_input", subtract, "true or false")
        if name in _TRANSCODERS:
            subtract = False
        by_norm = config.get("rescale_acts_by_decoder_norm", False)
        if not isinstance(by_norm, bool) or (by_norm and kind != "topk"):
            raise self._refuse("rescale_acts_by_decoder_norm", by_norm, "true or false; true of topk alone")
        k = self._count(config, "k") if kind == "topk" else 0
        return {"kind": kind, "k": k, "subtract_bias": subtract, "norm": norm, "by_decoder_norm": by_norm}

    def _check_hook(self, hook: Any) -> None:
        """The place that it was trained at is the one that it is to read."""
        if hook is None:
            return
        match = re.fullmatch(r"blocks\.([0-9]{1,6})\.(.+)", str(hook))
        known = _HOOKS.get(match[2]) if match else None
        place = self.place
        if match is None or known is None:
            allowed = ", ".join(f"blocks.N.{name}" for name in _HOOKS)
            hint = "what it was trained on is read at no site here" if match else ""
            raise self._refuse("hook_name", hook, allowed, hint)
        site, beyond = known
        layer = int(match[1]) + beyond
        if (site, layer) != (place.site, place.layer):
            hint = (
                f"that is site {site} of layer {layer}, since blocks count from 0 there; here it is to read "
            )
            raise self._refuse(
                "hook_name", hook, f"the place that it is for, {place.site} of layer {place.layer}",
                f"{hint}{place.site} of layer {place.layer}",
            )  # fmt: skip

    def _sparsify(self) -> dict[str, Any]:
        config, place = self.config or {}, self.place
        self._only(config, "activation", ("topk",))
        self._only(config, "signed", (False,))
        self._only(config, "gram_lookup", (False,), "it subtracts a table of its training text first")
        transcodes = config.get("transcode")
        if transcodes is None and place.site == "mlp_input":
            if place.subtract_bias is None:
                hint = "older versions did not write it: say `subtract_bias` in the study"
                raise self._refuse("transcode", None, "true, of what reads mlp_input", hint)
            subtract = place.subtract_bias
        else:
            subtract = not transcodes
            if not isinstance(transcodes, bool | None) or bool(transcodes) != (place.site == "mlp_input"):
                allowed = "true at mlp_input and false at other sites"
                raise self._refuse("transcode", transcodes, allowed, f"the study says site {place.site}")
        return {"kind": "topk", "k": self._count(config, "k"), "subtract_bias": subtract}


def _check_model(dictionary: Dictionary, config: Mapping[str, Any]) -> None:
    """Refuse places at which the model has something else than the one that a dictionary was trained on."""
    entry, place, file = architecture(config.get("model_type")), dictionary.place, dictionary.file
    if place.site == "mlp_act" and entry.experts:
        hint = "a router may leave out neurons that it reads"
        raise ModelError(file, "reads mlp_act of a mixture of experts; allowed: other sites", hint)
    if file.name in SCOPE and (place.site, place.layer) == ("resid", 0):
        hint = "that of Gemma Scope reads word embeddings before they are scaled"
        raise ModelError(file, "reads the input of block 1; allowed: layer 1 or later", hint)
    # TransformerLens has the sites of these after the norm that follows; here they are before it.
    has_norm_after = "post_feedforward_layernorm" in entry.inside
    if has_norm_after and file.name in (SAELENS, *SCOPE) and place.site not in ("resid", "mlp_act"):
        hint = f"in {entry.model_type} a norm follows; it was trained on what comes out, here is what goes in"
        raise ModelError(file, f"reads {place.site}; allowed: resid or mlp_act", hint)
