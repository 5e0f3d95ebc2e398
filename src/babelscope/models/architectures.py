"""Architectures as data: where the sites of a model are and how wide. Needs no torch.

A new architecture is one more row of ``architectures.yaml``. A site is a list of parts, each the input
or the output of a module inside a block; the units of a site are those of its parts, one after the
other, in the order in which the module itself stores them.

========  ==============================================================================
site      what it holds
========  ==============================================================================
mlp_in    output of the MLP's first linear map; gated MLPs: the gate's, which goes through
          the non-linearity, then the other's
mlp_act   input of the MLP's last linear map, what most call the neurons: act(mlp_in), or
          act(gate) * other in gated MLPs (Apertus has no gate)
mlp_out   output of the MLP's last linear map
attn_qkv  outputs of the query, key and value maps, one after the other; in BLOOM and GPT-NeoX
          those of each head. Before norms of queries and keys, clipping (OLMo) and rotation
attn_out  output of attention's last linear map
resid     residual stream: layer 0 the input of block 1, layer i the output of block i,
          before any final norm
========  ==============================================================================

Of a mixture of experts a unit of ``mlp_in`` or ``mlp_act`` belongs to one expert: unit ``e * F + i`` of a
block whose experts have ``F`` neurons is neuron ``i`` of expert ``e``. It has a value where the router sent
the token to this expert, and is 0 where it did not; the weight that the router gives the expert is no part
of it.
``mlp_out`` is the weighted sum over experts.

``mlp_out`` and ``attn_out`` are what is added to the residual stream, except where a norm stands
between: after the map in OLMo-2, OLMo-3, Gemma 2 and Gemma 3, and after the sum in BERT, RoBERTa,
XLM-RoBERTa and OPT-350m. The input of block 1 holds what the model adds to or does with the word
embeddings: positions (all with learned or sinusoidal ones), a norm (BLOOM, BERT and its kin), a
projection (OPT-350m), a factor (XGLM, Gemma).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from babelscope.complaints import nearest
from babelscope.errors import StudyError
from babelscope.io.yaml import packaged_yaml
from babelscope.models.wrappers import WRAPPERS

End = Literal["in", "out"]
Kind = Literal["decoder", "encoder"]
SITES = ("mlp_act", "mlp_in", "mlp_out", "attn_qkv", "attn_out", "resid")


@dataclass(frozen=True)
class Part:
    """One end of one module, as (a part of) a site.

    Attributes:
        module: Path inside the block.
        end: ``in`` is what the module takes, ``out`` what it gives.
        width: The field of :class:`babelscope.models.dimensions.Dimensions` that is its number of units.
        flat: The module sees ``(B * S, width)``, where all others see ``(B, S, width)``.
        tap: Of the maps of experts: which of :data:`babelscope.models.experts.TAPS` of the module it is.
    """

    module: str
    end: End
    width: str
    flat: bool = False
    tap: str = ""


@dataclass(frozen=True)
class Experts:
    """What stands in place of the MLP in a mixture of experts.

    Attributes:
        maps: Names of an expert's maps in files, with ``{}`` for its number: the gate, the other, the last.
        router: Name of the router's map in files.
    """

    maps: tuple[str, str, str]
    router: str


@dataclass(frozen=True)
class Key:
    """A size in ``config.json``.

    Attributes:
        names: The name, and other names that the config class takes for it.
        default: What the config class fills in. None: derived, see
            :func:`babelscope.models.dimensions.dimensions`.
    """

    names: tuple[str, ...] = ()
    default: int | None = None


@dataclass(frozen=True)
class Architecture:
    """One family of models.

    Attributes:
        model_type: As in ``config.json``.
        config_class: Name of the config class in transformers, whose defaults the keys repeat.
        blocks: Path of the list of blocks in the model with its language head.
        sites: Parts of each site inside a block; ``resid`` is the same for all.
        vocab: Default of ``vocab_size``.
        tied: Default of ``tie_word_embeddings``.
        kind: A decoder predicts the next token. An encoder sees the tokens on both sides; its
            inputs have an end token, and it writes no text.
        embedding: Width of the word embeddings, if they are projected to ``hidden``.
        position_rows: Rows of the table of learned positions beyond the key ``max_positions``;
            None without such a table.
        padding: Default of ``pad_token_id`` where positions are counted from the one after it;
            so many fewer can be used than the config says.
        dropouts: Settings that are 0 in a model that is trained here, unless the study sets them: one this
            small gains nothing from dropout.
        inside: Modules of a block that hold weights, beside the maps of the sites.
        outside: Modules of no block that hold weights, by their whole names, the word embeddings first.
        biases: Keys of the config that say whether the maps of attention, or of the MLP, have biases.
        affine: Whether maps and norms have biases, unless one of these keys takes them.
        biased: Sites whose maps have biases all the same.
        switches: Other keys that give or take weights, with their usual values.
        later: Modules inside a block that the first one has no weights for.
        unused: Patterns of tensors that files may hold and the model never reads.
        transposed: Maps are stored as (in, out).
        experts: Of a mixture of experts, whose key ``mlp`` is the width of one expert.
    """

    model_type: str
    config_class: str
    blocks: str
    sites: Mapping[str, tuple[Part, ...]]
    n_layers: Key
    hidden: Key
    heads: Key
    vocab: int
    tied: bool = False
    max_positions: Key = Key()
    mlp: Key = Key()
    key_heads: Key = Key()
    head_size: Key = Key()
    embedding: Key = Key()
    n_experts: Key = Key()
    n_chosen: Key = Key()
    kind: Kind = "decoder"
    position_rows: int | None = None
    padding: int | None = None
    dropouts: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    biases: tuple[str, ...] = ()
    affine: bool = False
    biased: tuple[str, ...] = ()
    switches: Mapping[str, bool] = field(default_factory=dict)
    later: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    transposed: bool = False
    experts: Experts | None = None


_SIZES = ("n_layers", "hidden", "heads", "key_heads", "head_size", "mlp", "max_positions")


def _read(model_type: str, row: Mapping[str, Any]) -> Architecture:
    """An architecture from its row of the table, whose head says what stands there."""
    *defaults, vocab = row["defaults"]
    experts = row.get("experts", {})
    sizes = {**dict(zip(_SIZES, defaults, strict=True)), "embedding": None}
    sizes |= {"n_experts": experts.get("n"), "n_chosen": experts.get("chosen")}
    keys: dict[str, Any] = {
        size: Key(tuple(row["names"].get(size, ())), default) for size, default in sizes.items()
    }
    flat, mlp_out, mlp_in = row.get("flat", False), row["mlp_out"], row["mlp_in"]
    first = "gate_and_other" if row.get("gate_inside") else "mlp"
    queries = ("query_key_value",) if len(row["attn_qkv"]) == 1 else ("query", "key", "key")
    sites = {
        "mlp_act": (Part(mlp_out, "in", "mlp", flat),),
        "mlp_in": tuple(Part(module, "out", first, flat) for module in mlp_in),
        "mlp_out": (Part(mlp_out, "out", "hidden", flat),),
        "attn_qkv": tuple(Part(m, "out", width) for m, width in zip(row["attn_qkv"], queries, strict=True)),
        "attn_out": (Part(row["attn_out"], "out", "hidden"),),
    }
    if experts:
        taps = {name: Part(experts["module"], "in", "acts", True, name) for name in ("gate", "other", "act")}
        sites |= {
            "mlp_act": (taps["act"],),
            "mlp_in": (taps["gate"], taps["other"]),
            "mlp_out": (Part(mlp_out, "out", "hidden"),),
        }
    same = (
        *("config_class", "blocks", "tied", "kind", "position_rows", "padding", "transposed"),
        *("affine", "switches"),
    )
    given = {name: row[name] for name in same if name in row}
    if experts:
        given["experts"] = Experts(tuple(experts["maps"]), experts["router"])
    lists: dict[str, Any] = {
        name: tuple(row.get(name, ()))
        for name in ("dropouts", "inside", "outside", "biases", "biased", "later", "unused")
    }
    return Architecture(model_type, sites=sites, vocab=vocab, **lists, **keys, **given)


ARCHITECTURES = {
    model_type: _read(model_type, row)
    for model_type, row in packaged_yaml("babelscope.models", "architectures.yaml").items()
}


def architecture(model_type: Any) -> Architecture:
    """The entry of an architecture.

    Raises:
        StudyError: If there is none, with those that exist.
    """
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        allowed = "one of " + ", ".join(sorted(ARCHITECTURES))
        raise StudyError("architecture", model_type, allowed, why_unknown(model_type))
    return ARCHITECTURES[model_type]


def why_unknown(model_type: Any) -> str:
    """What to do about a model type that is no architecture here."""
    if isinstance(model_type, str) and model_type in WRAPPERS:
        inside = WRAPPERS[model_type]["text"]
        return (
            f"{model_type} is read as the text model inside it: say {inside}, with the sizes of text_config"
        )
    kinds = packaged_yaml("babelscope.models", "unsupported.yaml")
    for kind, entry in kinds.items():
        if model_type in entry["types"]:
            return f"{model_type} is a {kind}: {entry['lacks']}"
    if near := nearest(model_type, ARCHITECTURES, cutoff=0.75):
        return near
    row = "another architecture of the same build is one more row of babelscope/models/architectures.yaml"
    return f"{row}, see docs/extend.md"


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether the model sees the tokens on both sides, and writes no text."""
    return architecture(config.get("model_type")).kind == "encoder"


def check_sites(sites: Sequence[str], dictionaries: Iterable[str] = ()) -> None:
    """Refuse unknown and repeated sites.

    Args:
        sites: Names of sites.
        dictionaries: Names that are sites of one model.

    Raises:
        StudyError: With those that exist.
    """
    known = [*SITES, *dictionaries]
    if not sites or len(set(sites)) != len(sites) or not set(sites) <= set(known):
        allowed = "a list of one or more different ones of " + ", ".join(known)
        raise StudyError("extraction.sites", list(sites), allowed)
