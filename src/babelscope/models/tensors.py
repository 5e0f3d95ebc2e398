"""What the files of a checkpoint hold, against the model that its config.json describes. Needs no torch.

What is loaded must be exactly what the files say: nothing left over, nothing added, nothing drawn at random.
The header of a safetensors file names its tensors, and so does the pickle of most ``.bin`` files, so this is
seen before any job; what another ``.bin`` file holds is known when it is loaded, and
:func:`babelscope.models.checkpoints.load_model` refuses the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from babelscope.errors import ModelError
from babelscope.models.architectures import Architecture, Part, architecture
from babelscope.models.dimensions import Dimensions, dimensions
from babelscope.models.files import read_config, read_header, read_weight_map, weight_files
from babelscope.models.other_formats import MERGE_ZERO
from babelscope.models.pickled import pickled_tensors
from babelscope.models.wrappers import text_name

#: Types that a weight may be stored in. All others hold a part of it, beside scales that somebody must apply.
_FLOATS = ("F64", "F32", "F16", "BF16")
_QUANTISED = ("quantization_config", "compression_config")
_ATTENTION = ("attn_implementation", "_attn_implementation")
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
#: What older versions called weight and bias of a norm.
_ONCE = {"gamma": "weight", "beta": "bias"}
#: Parameters of Apertus's activation, and what its files may hold of it besides.
_OF_ACTIVATION, _MORE_OF_IT = ("alpha_p", "alpha_n"), ("beta", "eps")
_LEAVES = ("weight", "bias", *_OF_ACTIVATION, *_MORE_OF_IT)

_SITES_WITH_MAPS = ("mlp_in", "attn_qkv", "mlp_out", "attn_out")
#: How the names of the sites begin whose maps a key gives biases or takes them.
_SITES_OF = {"attention_bias": "attn", "mlp_bias": "mlp"}

DEQUANTISE = (
    "dequantise the model and save it in float32, float16 or bfloat16 (transformers: model.dequantize())"
)
MERGE_ADAPTER = (
    "merge the adapter into the weights (peft: merge_and_unload, save_pretrained); or remove its files, "
    "if the base alone is meant"
)
LEFT_OVER = "save the model once more with transformers: dequantise it, merge its adapter, merge its shards"


class Stored(NamedTuple):
    """A tensor as its file describes it."""

    file: Path
    type: str
    """Such as ``F32``."""
    shape: tuple[int, ...]


def check_tensors(folder: Path | str) -> dict[str, tuple[int, ...]] | None:
    """Refuse a whole folder whose files are not exactly the model of its config.json.

    Returns:
        The shape of each weight by its whole name, without what is never read or tied; None for ``.bin``
        files that say it only when they are loaded.

    Raises:
        ModelError: If weights are left over, missing, of another shape, or of a type of few bits; if an
            adapter lies beside them, or config.json says that they are quantised.
        StudyError: If the architecture is unknown.
    """
    folder = Path(folder)
    config = read_config(folder)
    check_beside(folder, config)
    stored = _stored(folder)
    return None if stored is None else check_stored(folder, config, stored)


def check_beside(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse what makes the model depend on what else is installed.

    Raises:
        ModelError: If config.json says that weights are quantised, or names another way to compute attention,
            or an adapter lies in the folder.
    """
    for key in _QUANTISED:
        if config.get(key) is not None:  # an empty one asks for a quantiser too
            method = config[key].get("quant_method", "") if isinstance(config[key], dict) else config[key]
            problem = f"its weights are quantised: config.json has {key} ({method or 'no quant_method'})"
            raise ModelError(folder, f"{problem}; allowed: weights of 16 or 32 bits", DEQUANTISE)
    for key in _ATTENTION:
        if config.get(key) not in (None, "eager", "sdpa"):
            problem = f"config.json has {key} {config[key]!r}; allowed: eager, sdpa, or nothing"
            raise ModelError(folder, problem, f"take {key} out of config.json: all ways compute the same")
    beside = [name for name in _ADAPTER if (folder / name).is_file()]
    if beside:
        problem = f"holds an adapter beside the weights ({', '.join(beside)}), which is loaded where peft is"
        raise ModelError(folder, f"{problem} installed; allowed: weights alone", MERGE_ADAPTER)


def _stored(folder: Path) -> dict[str, Stored] | None:
    """All tensors of a folder by name; None if a ``.bin`` file tells them only when it is loaded.

    Raises:
        ModelError: If a tensor stands in two files, or an index and its shards name different ones; if a
            pickle asks for more than tensors.
    """
    found: dict[str, Stored] = {}
    for file in weight_files(folder):
        tensors = _described(file)
        if tensors is None:
            return None
        for name, tensor in tensors.items():
            if name in found:
                problem = f"holds the tensor {name} twice: in {found[name].file.name} and in {file.name}"
                raise ModelError(folder, problem, "merge the shards: save the model once more")
            found[name] = tensor
    check_index(folder, found)
    return found


def _described(file: Path) -> dict[str, Stored] | None:
    if file.suffix == ".safetensors":
        entries = read_header(file).items()
        return {name: Stored(file, str(entry["dtype"]), tuple(entry["shape"])) for name, entry in entries}
    tensors = pickled_tensors(file)
    return None if tensors is None else {name: Stored(file, *tensor) for name, tensor in tensors.items()}


def check_index(folder: Path, stored: Mapping[str, Stored]) -> None:
    """Refuse a folder whose index and shards name different tensors.

    Raises:
        ModelError: With the first of them.
    """
    index = read_weight_map(folder)
    if index is None:
        return
    held = {name: each.file.name for name, each in stored.items()}
    moved = sorted(name for name in index.keys() | held.keys() if index.get(name) != held.get(name))
    if moved:
        problem = f"its index and its shards differ in {len(moved)} tensors; the first is {moved[0]}"
        hint = f"the index says {index.get(moved[0], 'nothing of it')}; take index and shards of one step"
        raise ModelError(folder, problem, hint)


def check_stored(
    folder: Path, config: Mapping[str, Any], stored: Mapping[str, Stored]
) -> dict[str, tuple[int, ...]]:
    """The same as :func:`check_tensors`, of tensors that are known by name."""
    entry, sizes = architecture(config.get("model_type")), dimensions(config)
    texts = {name: text for name in stored if (text := text_name(name, config)) is not None}
    used = {name: full_name(text, entry) for name, text in texts.items() if not is_unused(text, entry)}
    packed = sorted(name for name in used if stored[name].type not in _FLOATS)
    if packed:
        type_ = stored[packed[0]].type
        problem = f"{len(packed)} of its tensors are stored as {type_}; the first is {packed[0]}"
        raise ModelError(folder, f"{problem}; allowed: {', '.join(_FLOATS)}", DEQUANTISE)
    refuse_left_over(folder, [name for name, full in used.items() if full is None])
    shapes: dict[str, tuple[int, ...]] = {}
    for name, full in used.items():
        if str(full) in shapes:
            raise ModelError(folder, f"holds {full} under two names, one of them {name}", LEFT_OVER)
        shapes[str(full)] = stored[name].shape
    blocks = {
        int(full.removeprefix(f"{entry.blocks}.").split(".")[0]) for full in shapes if _in_block(full, entry)
    }
    if blocks != set(range(sizes.n_layers)):
        numbers = f"{len(blocks)} blocks, the last is {max(blocks)}" if blocks else "no block"
        problem = f"its files hold {numbers}; config.json says that there are {sizes.n_layers}"
        raise ModelError(folder, problem, "take config.json and weights of one model, and all of its shards")
    _check_shapes(folder, config, shapes)
    if sizes.tied:
        shapes = {name: shape for name, shape in shapes.items() if not _is_tied(name)}
    return shapes


def _check_shapes(folder: Path, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights that are missing or of another shape, and biases that config.json says are not there."""
    entry, sizes = architecture(config.get("model_type")), dimensions(config)
    expected, biases, heads = _maps(entry, sizes), _biases(entry, sizes), _heads(entry)
    required: set[str] = set()
    if all(config.get(key, usual) in (usual, None) for key, usual in entry.switches.items()):
        expected |= {name: shape for name, (site, shape) in biases.items() if _has_bias(site, entry, config)}
        required, optional = _vectors_of(entry, sizes)
        known = expected.keys() | required | optional
        left = [name for name in shapes if name not in known and not _is_of_expert_of(name, entry)]
        refuse_left_over(folder, left)
    if sizes.position_rows:
        tables = {f"{module}.weight": (sizes.position_rows, sizes.hidden) for module in _positions(entry)}
        expected |= {name: shape for name, shape in tables.items() if name in required}
    there = [name for name in heads if name in shapes]
    if there or not sizes.tied:
        expected[(there or heads)[0]] = (sizes.vocab, sizes.embedding)
    refuse_left_over(
        folder, [name for name in shapes if name not in expected and _is_of_expert_of(name, entry)]
    )
    missing = [name for name in [*expected, *sorted(required - expected.keys())] if name not in shapes]
    if missing:
        problem = f"lacks {len(missing)} weights; the first is {missing[0]}"
        raise ModelError(folder, problem, "they would be drawn at random; save the whole model once more")
    for name in [*expected, *shapes]:
        widths = {expected[name]} if name in expected else _vectors(name, entry, sizes)
        if name in biases:
            widths = {biases[name][1]}
        if widths and shapes[name] not in widths:
            said = " or ".join(map(str, sorted(widths)))
            problem = f"its {name} has shape {shapes[name]}; config.json says {said}"
            empty = 0 in shapes[name]
            raise ModelError(
                folder, problem, MERGE_ZERO if empty else "take config.json and weights of one model"
            )


def _has_bias(site: str, entry: Architecture, config: Mapping[str, Any]) -> bool:
    """Whether the maps of a site have biases."""
    for key in entry.biases:
        if site.startswith(_SITES_OF[key]) and config.get(key) is not None:
            return bool(config[key])
    return entry.affine or site in entry.biased


def _vectors_of(entry: Architecture, sizes: Dimensions) -> tuple[set[str], set[str]]:
    """Names of the weights beside the maps: those that every such model has, and those that it may have."""
    leaves = ("weight", "bias") if entry.affine else ("weight",)
    required, optional = set(), set()
    for module in entry.inside:
        own = _OF_ACTIVATION if module.endswith("act_fn") else leaves
        for layer in range(module in entry.later, sizes.n_layers):
            name = f"{entry.blocks}.{layer}.{module}"
            required |= {f"{name}.{leaf}" for leaf in own}
            optional |= {f"{name}.{leaf}" for leaf in _MORE_OF_IT if own is _OF_ACTIVATION}
    for module in entry.outside[1:]:
        if entry.kind == "encoder" and is_of_head(f"{module}.", entry):
            optional |= {f"{module}.weight", f"{module}.bias"}
        elif f"{module}.weight" in _heads(entry):
            optional.add(f"{module}.weight")
        elif "project_" in module:  # between the width of the word embeddings and that of the blocks
            required |= {f"{module}.weight"} if sizes.embedding != sizes.hidden else set()
        else:
            required |= {f"{module}.{leaf}" for leaf in (leaves if _is_norm(module) else ("weight",))}
    return required, optional


def _positions(entry: Architecture) -> list[str]:
    """The modules of tables of learned positions."""
    return [module for module in entry.outside if re.search(r"positions?(_embeddings)?$|\.wpe$", module)]


def _heads(entry: Architecture) -> list[str]:
    """Names of the last map, of which files hold one, or none where it is tied."""
    return [f"{module}.weight" for module in entry.outside if _is_tied(f"{module}.weight")]


def _is_norm(module: str) -> bool:
    last = module.rpartition(".")[2].lower()
    return "norm" in last or last.startswith("ln_")


def _vectors(name: str, entry: Architecture, sizes: Dimensions) -> set[tuple[int, ...]]:
    """Shapes that a norm may have; none for what is no norm."""
    module = name.rpartition(".")[0]
    last = module.rpartition(".")[2].lower()
    if module not in entry.outside and _of_block(module, entry) not in entry.inside:
        return set()
    if last in ("q_norm", "k_norm"):
        return {(sizes.head,), (sizes.query,), (sizes.key,)}
    return {(sizes.hidden,), (sizes.embedding,)} if _is_norm(module) else set()


def refuse_left_over(folder: Path, names: Sequence[str]) -> None:
    """Refuse tensors that the model has no place for.

    Raises:
        ModelError: If there are any.
    """
    if names:
        first = sorted(names)[0]
        problem = f"holds {len(names)} tensors that the model of its config.json does not use"
        raise ModelError(folder, f"{problem}; the first is {first}", LEFT_OVER)


def is_unused(name: str, entry: Architecture) -> bool:
    """Whether files may hold a tensor that the model never reads: a buffer, or a head that does not run."""
    names = (name, f"{_root(entry)}.{name}")
    return any(fnmatchcase(each, pattern) for each in names for pattern in entry.unused)


def is_of_head(full: str, entry: Architecture) -> bool:
    """Whether a weight is of an encoder's head, which nothing runs and most are published without."""
    return entry.kind == "encoder" and not full.startswith(f"{_root(entry)}.")


def full_name(name: str, entry: Architecture) -> str | None:
    """The whole name of a weight, of one that may lack the first part; None if the model has none such."""
    name_, _, leaf = name.rpartition(".")
    if entry.kind == "encoder" and leaf in _ONCE:
        name = f"{name_}.{_ONCE[leaf]}"
    for full in (name, f"{_root(entry)}.{name}"):
        module, _, leaf = full.rpartition(".")
        if leaf not in _LEAVES:
            continue
        if module in entry.outside or (
            _in_block(full, entry) and _is_in_blocks(_of_block(module, entry), entry)
        ):
            return full
    return None


def _root(entry: Architecture) -> str:
    return entry.blocks.split(".")[0]


def _in_block(full: str, entry: Architecture) -> bool:
    # A block has one name: layers.00 is none.
    return re.match(rf"{re.escape(entry.blocks)}\.(0|[1-9]\d*)\.", full) is not None


def _of_block(module: str, entry: Architecture) -> str:
    """The name of a module inside its block."""
    return module.removeprefix(f"{entry.blocks}.").partition(".")[2]


def _is_in_blocks(inner: str, entry: Architecture) -> bool:
    """Whether blocks have a module of this name that holds weights, as files name it."""
    if inner in entry.inside or any(inner == part.module for _, part in _mapped(entry)):
        return True
    return entry.experts is not None and (inner == entry.experts.router or _is_of_expert(inner, entry))


def _mapped(entry: Architecture) -> list[tuple[str, Part]]:
    """Each map of a site with its site; those of experts are no modules of their own."""
    sites = ("attn_qkv", "attn_out") if entry.experts else _SITES_WITH_MAPS
    return [(site, part) for site in sites for part in entry.sites[site]]


def _is_of_expert(inner: str, entry: Architecture) -> bool:
    maps = () if entry.experts is None else entry.experts.maps
    return any(re.fullmatch(re.escape(name).replace(r"\{\}", r"(0|[1-9]\d*)"), inner) for name in maps)


def _is_of_expert_of(full: str, entry: Architecture) -> bool:
    """The same of a whole name of a weight."""
    return _in_block(full, entry) and _is_of_expert(_of_block(full.rpartition(".")[0], entry), entry)


def _is_tied(full: str) -> bool:
    """Whether a weight is the last map or its bias, which files may hold or leave out where it is tied."""
    return full.startswith(
        ("lm_head.weight", "lm_head.decoder.", "embed_out.", "cls.predictions.decoder.", "decoder.")
    )


def _biases(entry: Architecture, sizes: Dimensions) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Site and shape of the bias of each map, which it may have or not, by whole name."""
    return {
        f"{entry.blocks}.{layer}.{part.module}.bias": (site, (getattr(sizes, part.width),))
        for layer in range(sizes.n_layers)
        for site, part in _mapped(entry)
    }


def _maps(entry: Architecture, sizes: Dimensions) -> dict[str, tuple[int, ...]]:
    """Shape of the word embeddings and of each map of a site, by whole name."""
    inputs = {"mlp_in": sizes.hidden, "attn_qkv": sizes.hidden, "mlp_out": sizes.mlp, "attn_out": sizes.query}
    shapes: dict[str, tuple[int, ...]] = {f"{entry.outside[0]}.weight": (sizes.vocab, sizes.embedding)}
    for layer in range(sizes.n_layers):
        for site, part in _mapped(entry):
            shape = getattr(sizes, part.width), inputs[site]
            name = f"{entry.blocks}.{layer}.{part.module}.weight"
            shapes[name] = shape[::-1] if entry.transposed else shape
        of_experts = _maps_of_experts(entry, sizes).items()
        shapes |= {f"{entry.blocks}.{layer}.{name}.weight": shape for name, shape in of_experts}
    return shapes


def _maps_of_experts(entry: Architecture, sizes: Dimensions) -> dict[str, tuple[int, ...]]:
    """Shape of each map of the experts of a block and of its router, by the name inside the block."""
    if entry.experts is None:
        return {}
    first, last = (sizes.mlp, sizes.hidden), (sizes.hidden, sizes.mlp)
    maps = zip(entry.experts.maps, (first, first, last), strict=True)
    of_each = {name.format(expert): shape for name, shape in maps for expert in range(sizes.experts)}
    return {entry.experts.router: (sizes.experts, sizes.hidden), **of_each}
