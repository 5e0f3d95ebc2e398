"""The methods of the workflow for a notebook: sentences and a model in, labelled tables out.

The same functions as in the workflow's jobs, with the same defaults: same input, same numbers. What a job
would leave in ``results/`` lies in a folder for temporary files, which goes with the object that holds it.
Units are named as everywhere, ``L03.mlp_act.117``; layer 1 is the first block.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch

from babelscope.analysis.alignment import align_experts
from babelscope.analysis.experts import select_experts
from babelscope.analysis.forcing import UnitSet, force_units
from babelscope.analysis.generation import NO_SOURCE, UNFORCED, TextRequest, generate_texts
from babelscope.analysis.probing import fit_language_probe
from babelscope.analysis.ranking import BestFile, best_files, rank_units
from babelscope.analysis.reliability import search_units
from babelscope.analysis.scores import SUBSETS, ScoreFile, ScoreSettings, score_files
from babelscope.analysis.scores import score_units as score_unit_file
from babelscope.analysis.settings import (
    AlignmentSettings,
    ExpertSettings,
    GenerationSettings,
    ProbeSettings,
)
from babelscope.capture.extraction import extract_language
from babelscope.capture.inputs import encode_sentences
from babelscope.capture.routing import routed_shares
from babelscope.capture.settings import ExtractionSettings
from babelscope.capture.store import TokenFile, UnitFile, token_files, unit_files, write_units
from babelscope.errors import DataError, ModelError
from babelscope.io.cells import cell_name
from babelscope.io.h5 import atomic_h5
from babelscope.models.checkpoints import LoadedModel, load_checkpoint
from babelscope.models.dictionaries import DictionarySettings, check_dictionary
from babelscope.models.dimensions import dimensions, max_positions, n_layers, site_widths
from babelscope.models.files import read_config
from babelscope.text.lines import half_of
from babelscope.units import UnitIndex, UnitPlace, expert_place, place_of, unit_name

Sentences = Mapping[str, Mapping[str, str] | Sequence[str]]
"""Per language its sentences: by id, or a list, whose ids are then ``0``, ``1``, ..."""
Labels = Mapping[str, Iterable[str | int]] | Mapping[str, pd.DataFrame] | pd.DataFrame
"""Which sentences express a concept: see :func:`score_units`."""

_STEP = 0
_PLACE = ["layer", "site", "unit"]
#: Units that are kept of every concept, as in the workflow; K is at most as many.
_KEPT: int = ExpertSettings.model_fields["kept"].default
#: What is downloaded of a repository: never code, and pickled weights only where there are no others.
_FILES, _PICKLES = ("*.json", "*.txt", "*.model", "*.safetensors"), ("*.bin",)
_DTYPES = ("float32", "bfloat16", "float16")


def load_model(
    folder: Path | str,
    *,
    revision: str | None = None,
    tokenizer: Path | str | None = None,
    dtype: str = "float32",
    device: str = "auto",
    dictionaries: Mapping[str, Mapping[str, Any]] | None = None,
) -> LoadedModel:
    """Load a model with its tokenizer; no code of its folder is run.

    Args:
        folder: A Hugging Face folder, or a repository of the hub such as ``bigscience/bloom-560m``, which is
            taken from the cache of ``huggingface_hub`` or downloaded into it.
        revision: Of the repository: a branch, a tag or a commit.
        tokenizer: Folder of another tokenizer.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto``, ``cpu``, ``cuda``, or ``spread`` over all GPUs.
        dictionaries: Sparse autoencoders or transcoders by name, each with the keys of
            :class:`babelscope.models.dictionaries.DictionarySettings`. Their names are sites, and their
            latents units, such as ``L03.sae.117``.

    Raises:
        DataError: If there is no such folder, repository or type, or a file is missing, damaged or does not
            fit.
        StudyError: If the device or the architecture is not there, or what is said of a dictionary is wrong.

    Example:
        >>> model = bs.load_model("results/demo/models/bridged-seed0/2048")
        >>> sae = {"path": "sae/layer_{block}", "site": "resid", "layers": [3]}
        >>> model = bs.load_model("my-run/checkpoint-2048", dictionaries={"sae": sae})
    """
    if dtype not in _DTYPES:
        raise DataError(folder, f"cannot be loaded as {dtype!r}", f"dtype is one of {', '.join(_DTYPES)}")
    if Path(folder).is_dir():
        if revision is not None:
            raise DataError(folder, f"is a folder, which has no revision {revision!r}", "leave it out")
        if steps := _checkpoints_in(Path(folder)):
            shown = ", ".join(steps[:3] if len(steps) < 4 else [*steps[:2], "...", steps[-1]])
            raise ModelError(folder, f"is no checkpoint, but holds some: {shown}", "name one of them")
        return load_checkpoint(
            folder,
            tokenizer=tokenizer,
            dtype=dtype,
            device=device,
            dictionaries=_places(folder, dictionaries),
        )
    snapshot = _snapshot(str(folder), revision)
    loaded = load_checkpoint(
        snapshot,
        tokenizer=tokenizer,
        dtype=dtype,
        device=device,
        dictionaries=_places(snapshot, dictionaries),
    )
    return replace(loaded, repo=str(folder), commit=snapshot.name)


def _places(folder: Path | str, dictionaries: Mapping[str, Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """Where the dictionaries of each layer lie."""
    if not dictionaries:
        return []
    last = n_layers(read_config(folder))
    read = {name: DictionarySettings(**of) for name, of in dictionaries.items()}
    for name, settings in read.items():
        check_dictionary(name, settings, last, f"dictionaries.{name}", fields=("layer", "block"))
    return [
        settings.at(name, layer).as_param()
        for name, settings in read.items()
        for layer in settings.layers_of(last)
    ]


def _checkpoints_in(folder: Path) -> list[str]:
    """Names of the checkpoints in a folder that is none itself, by their numbers."""
    if (folder / "config.json").exists():
        return []
    names = [path.parent.name for path in folder.glob("*/config.json")]
    return sorted(names, key=lambda name: ([int(n) for n in re.findall(r"\d+", name)], name))


def _snapshot(repo: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    def download(patterns: Sequence[str]) -> Path:
        try:
            return Path(snapshot_download(repo, revision=revision, allow_patterns=list(patterns)))
        except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            problem = f"is no folder here, and no repository that can be had ({error})"
            raise DataError(repo, problem, "name a folder, or OWNER/NAME of the hub") from error

    folder = download(_FILES)
    return folder if any(folder.glob("*.safetensors")) else download((*_FILES, *_PICKLES))


T = TypeVar("T")


def _of_lang(files: Mapping[str, T], lang: str) -> T:
    if lang not in files:
        raise DataError(f"language {lang!r}", f"is not there; there are: {', '.join(files)}")
    return files[lang]


@dataclass(repr=False)
class Activations:
    """What a model computed on sentences, language by language.

    Attributes:
        units: Per language the pooled units, see :class:`babelscope.capture.store.UnitFile`.
        tokens: Per language states of sampled tokens and sentence means, see
            :class:`babelscope.capture.store.TokenFile`.
    """

    folder: Any
    units: dict[str, UnitFile]
    tokens: dict[str, TokenFile]

    def __repr__(self) -> str:
        told = ", ".join(f"{lang} {len(file.sentence_ids)}" for lang, file in self.units.items())
        sites = ", ".join(dict.fromkeys(site for _, site, _ in self.unit_index.sites))
        return f"<activations: {len(self.unit_index)} units at {sites}, on sentences: {told}>"

    @property
    def languages(self) -> list[str]:
        """The languages, in the order given."""
        return list(self.units)

    @cached_property
    def unit_index(self) -> UnitIndex:
        """All units of the model's chosen sites, in their order."""
        return UnitIndex.of(next(iter(self.units.values())).sites)

    def frame(self, lang: str) -> pd.DataFrame:
        """Pooled values: a row per sentence, a column per unit.

        Args:
            lang: The language.

        Raises:
            DataError: If there is no such language.
        """
        file, index = _of_lang(self.units, lang), self.unit_index
        values = pd.concat([pd.DataFrame(file.read(*place[:2])) for place in file.sites], axis=1)
        return values.set_axis(index.names(range(len(index))), axis=1).set_axis(file.sentence_ids, axis=0)


def activations(
    model: LoadedModel,
    sentences: Sentences,
    *,
    sites: Sequence[str] | str = ("mlp_act",),
    seed: int = 0,
    **settings: Any,
) -> Activations:
    """Run a model over sentences and keep what is pooled over each, and a sample of token states.

    Args:
        model: Of :func:`load_model`.
        sentences: Per language its sentences. Sentences of one id are translations of each other; an id ends
            with a number, whose parity says in which half the sentence is.
        sites: Where units live, one or several, see docs/methods.md; names of the model's dictionaries are
            sites too.
        seed: Of the sample of tokens.
        **settings: Others of :class:`babelscope.capture.settings.ExtractionSettings`, such as
            ``pooling``.

    Raises:
        DataError: If a sentence has no token, or an id stands twice.
        StudyError: If a setting is wrong.
        NumericsError: If a value is not finite.

    Example:
        >>> texts = {"en": ["a house", "the river"], "de": ["ein haus", "der fluss"]}
        >>> acts = bs.activations(model, texts)
        >>> acts.frame("en")  # sentences x units
    """
    _check_model(model)
    if "max_length" not in settings:  # the workflow asks for one that fits; here the model is at hand
        longest = max_positions(model.config)
        default = ExtractionSettings().max_length
        settings["max_length"] = default if longest is None else min(default, longest)
    where = (sites,) if isinstance(sites, str) else sites
    chosen = ExtractionSettings(sites=tuple(where), **settings)
    folder = tempfile.TemporaryDirectory(prefix="babelscope-")
    files = {kind: Path(folder.name, f"{kind}.h5") for kind in ("units", "tokens")}
    with (
        atomic_h5(files["units"], kind="units") as units,
        atomic_h5(files["tokens"], kind="tokens") as tokens,
    ):
        for lang, texts in _by_lang(sentences):
            extract_language(
                model,
                _by_id(lang, texts),
                units=partial(write_units, units.create_group(cell_name(_STEP, lang))),
                tokens=tokens.create_group(cell_name(_STEP, lang)),
                model=model.folder.name,
                step=_STEP,
                lang=lang,
                settings=chosen,
                seed=seed,
            )
    wanted = [(_STEP, lang) for lang in sentences]
    return Activations(
        folder,
        {lang: file for (_, lang), file in unit_files([files["units"]], wanted).items()},
        {lang: file for (_, lang), file in token_files([files["tokens"]], wanted).items()},
    )


def _check_model(model: object) -> None:
    if not isinstance(model, LoadedModel):
        raise DataError("model", f"is a {type(model).__name__}", "name one that bs.load_model has given")


def _by_lang(sentences: Sentences) -> Iterable[tuple[str, Mapping[str, str] | Sequence[str]]]:
    if not isinstance(sentences, Mapping) or not sentences:
        hint = 'such as {"en": ["a house", ...], "de": ["ein haus", ...]}'
        raise DataError("sentences", "are not given by language", hint)
    return sentences.items()


def _by_id(lang: str, texts: Mapping[str, str] | Sequence[str]) -> list[tuple[str, str]]:
    if isinstance(texts, str) or not len(texts):
        raise DataError(f"sentences of {lang}", "are no list of sentences, nor sentences by their ids")
    return [
        (str(name), text)
        for name, text in (texts.items() if isinstance(texts, Mapping) else enumerate(texts))
    ]


@dataclass(repr=False)
class Scores:
    """How well every unit predicts every concept in each language."""

    folder: Any
    files: dict[str, ScoreFile]
    best: dict[str, BestFile]
    search: pd.DataFrame

    def __repr__(self) -> str:
        concepts, langs = ", ".join(self.concepts), ", ".join(self.languages)
        return f"<scores: {self.n_units} units for {concepts} in {langs}>"

    @property
    def languages(self) -> list[str]:
        """The languages, in the order of the activations."""
        return list(self.files)

    @property
    def concepts(self) -> list[str]:
        """The concepts, in the order of the labels."""
        return self._first.concepts

    @property
    def n_units(self) -> int:
        """Units of the model's chosen sites."""
        return len(self._first.units)

    @property
    def _first(self) -> ScoreFile:
        return next(iter(self.files.values()))

    def frame(self, lang: str, subset: str = "all") -> pd.DataFrame:
        """Average precision: a row per concept, a column per unit.

        Args:
            lang: The language.
            subset: Sentences that it is of: ``all``, or the half ``a`` or ``b``.

        Raises:
            DataError: If there is no such language or subset.
        """
        if subset not in SUBSETS:
            raise DataError(f"subset {subset!r}", f"is not there; there are: {', '.join(SUBSETS)}")
        file = _of_lang(self.files, lang)
        parts = [pd.DataFrame(file.read(layer, site, f"ap_{subset}")) for layer, site, _ in file.units.sites]
        names = file.units.names(range(len(file.units)))
        return pd.concat(parts, axis=1).set_axis(names, axis=1).set_axis(file.concepts, axis=0)


def score_units(
    activations: Activations, labels: Labels, *, min_positive: int = 2, seed: int = 0, threads: int = 1
) -> Scores:
    """Average precision of every unit as a predictor of every concept, on all sentences and on each half.

    Args:
        activations: Of :func:`activations`.
        labels: Per concept the ids of the sentences that express it, the same in every language, all others
            do not; or a table ``concept, sentence_id, label`` (1 or 0, a sentence that is not listed is left
            out), for all languages or per language.
        min_positive: Positive sentences that every concept needs.
        seed: Of the lots by which equal units are taken, and of the null of the search for units that predict
            a concept in all languages.
        threads: Side by side.

    Raises:
        DataError: If a label is of no sentence, stands twice, or a concept has too few sentences.

    Example:
        >>> scores = bs.score_units(acts, {"water": ["2", "3", "6", "7"]})
    """
    settings = ScoreSettings(min_positive=min_positive, threads=threads)
    folder = tempfile.TemporaryDirectory(prefix="babelscope-")
    scored, ranked = Path(folder.name, "scores.h5"), Path(folder.name, "best.h5")
    with atomic_h5(scored, kind="scores") as file:
        for lang, units in activations.units.items():
            table = _label_table(labels, lang, units.sentence_ids)
            score_unit_file(units, table, file.create_group(cell_name(_STEP, lang)), settings)
    wanted = [(_STEP, lang) for lang in activations.languages]
    files = {lang: file for (_, lang), file in score_files([scored], wanted).items()}
    with atomic_h5(ranked, kind="best") as file:
        groups = {lang: file.create_group(cell_name(_STEP, lang)) for lang in files}
        rank_units(files, groups, kept=_KEPT, seed=seed)
    best = {lang: file for (_, lang), file in best_files([ranked], wanted).items()}
    return Scores(folder, files, best, search_units(files, seed=seed))


def _label_table(labels: Labels, lang: str, ids: Sequence[str]) -> pd.DataFrame:
    """A table ``concept, sentence_id, half, label`` for one language."""
    given: Any = labels
    if isinstance(given, Mapping) and any(isinstance(value, pd.DataFrame) for value in given.values()):
        if lang not in given:
            raise DataError("labels", f"lack the language {lang}; they have {', '.join(map(str, given))}")
        given = given[lang]
    if isinstance(given, pd.DataFrame):
        if missing := [name for name in ("concept", "sentence_id", "label") if name not in given]:
            raise DataError(f"labels of {lang}", f"lack the column {missing[0]}; they have {list(given)}")
        table = given.assign(sentence_id=given["sentence_id"].astype(str))
    else:
        if not isinstance(given, Mapping) or any(isinstance(names, str) for names in given.values()):
            hint = 'such as {"water": ["s0", "s7"]}: of each concept a list of ids'
            raise DataError("labels", "are no sentences by concept, and no table", hint)
        positive = {concept: {str(name) for name in names} for concept, names in given.items()}
        for concept, names in positive.items():
            if unknown := sorted(names - set(ids)):
                shown, has = ", ".join(unknown[:5]), ", ".join(ids[:3])
                hint = f"its sentences are {has}, ...; those of a list are numbered from 0"
                raise DataError(f"labels of {concept}", f"name no sentence of {lang}: {shown}", hint)
        rows = [(concept, name, int(name in names)) for concept, names in positive.items() for name in ids]
        table = pd.DataFrame(rows, columns=["concept", "sentence_id", "label"])
    return table if "half" in table else table.assign(half=[half_of(name) for name in table["sentence_id"]])


def experts(scores: Scores, *, k: int) -> pd.DataFrame:
    """The K units of highest average precision of every concept, in every language.

    Args:
        scores: Of :func:`score_units`.
        k: Experts of a concept.

    Returns:
        The table of :func:`babelscope.analysis.experts.select_experts` of all languages, with the column
        ``name``.

    Raises:
        StudyError: If there are fewer units.

    Example:
        >>> bs.experts(scores, k=5).query("scope == 'model' and subset == 'all'")
    """
    found = pd.concat([select_experts(file, k=k) for file in scores.best.values()], ignore_index=True)
    units = next(iter(scores.best.values())).units
    return found.assign(name=units.names(units.numbers(found["layer"], found["site"], found["unit"])))


def overlap(
    scores: Scores,
    *,
    k: int,
    groups: Mapping[str, Sequence[str]] | None = None,
    kinship: pd.DataFrame | None = None,
    bootstrap: int = AlignmentSettings().bootstrap,
    permutations: int = AlignmentSettings().permutations,
    seed: int = 0,
) -> pd.DataFrame:
    """How far the experts of a concept in two languages are the same units, with null, ceiling and interval.

    Args:
        scores: Of :func:`score_units`, of two languages or more.
        k: Experts of a concept.
        groups: Concepts that are near each other, for the null among these.
        kinship: How alike languages are written (``tables/pairs.tsv``), for means over kinds of pairs.
        bootstrap: Resamples for an interval.
        permutations: Of the concepts, for p-values.
        seed: Of both.

    Returns:
        The columns of ``tables/overlap.parquet`` but ``q_value``, see docs/formats.md.

    Example:
        >>> table = bs.overlap(scores, k=5)
        >>> table.query("scope == 'model' and lang_a == '*'")[["variant", "overlap", "low", "high", "null"]]
    """
    settings = AlignmentSettings(bootstrap=bootstrap, permutations=permutations, seed=seed)
    _, table, *_ = align_experts(scores.best, scores.search, settings, k=k, groups=groups, kinship=kinship)
    return table


def probe_language(
    activations: Activations, *, layers: Sequence[int] | None = None, seed: int = 0, **settings: Any
) -> pd.DataFrame:
    """How easily the language is read off a token's state, layer by layer.

    Args:
        activations: Of :func:`activations`, of two languages or more.
        layers: Layers to probe; all by default, 0 is what goes into the first block.
        seed: First random seed of the splits.
        **settings: Others of :class:`babelscope.analysis.settings.ProbeSettings`.

    Returns:
        The columns of ``tables/probes.parquet``, see docs/formats.md.

    Raises:
        BabelscopeError: If there are too few tokens or sentences in a language.

    Example:
        >>> bs.probe_language(acts, layers=[0, 1]).query("probe == 'full' and seed == -1")
    """
    first = next(iter(activations.tokens.values()))
    return pd.concat(
        [
            fit_language_probe(
                activations.tokens,
                layer=layer,
                settings=ProbeSettings(seed=seed, **settings),
                model=first.provenance.model,
                step=_STEP,
            )
            for layer in (first.layers if layers is None else layers)
        ],
        ignore_index=True,
    )


Units = pd.DataFrame | Mapping[str, float] | Iterable[str] | str
"""Units: rows of a table of experts, names with values, or names alone, of which one may stand by itself."""


@contextmanager
def force(model: LoadedModel, units: Units, *, value: float | None = None) -> Iterator[None]:
    """Hold units at a value, at every position of whatever the body runs.

    Args:
        model: Of :func:`load_model`.
        units: Rows of :func:`experts`, each held at its ``forced_value``; or values by name.
        value: One value for all in place of these.

    Raises:
        ValueError: If the model has no such unit, or a unit has no value, or several.

    Example:
        >>> with bs.force(model, {"L03.mlp_act.117": 2.5}):
        ...     texts = bs.generate(model)
    """
    with force_units(model.model, _unit_set(model, units, value)):
        yield


@contextmanager
def ablate(model: LoadedModel, units: Units, *, value: float = 0.0) -> Iterator[None]:
    """Take units out: hold them at zero, or at another value that says nothing, such as their mean.

    Args:
        model: Of :func:`load_model`.
        units: Rows of :func:`experts`, or names.
        value: What all are held at.

    Raises:
        ValueError: If the model has no such unit.

    Example:
        >>> with bs.ablate(model, ["L03.mlp_act.117"]):
        ...     texts = bs.generate(model)
    """
    with force(model, units, value=value):
        yield


def _unit_set(model: LoadedModel, units: Units, value: float | None) -> UnitSet:
    _check_model(model)
    places: list[UnitPlace]
    own: list[float | None]
    units = [units] if isinstance(units, str) else units
    if isinstance(units, pd.DataFrame):
        places = [(int(at), str(site), int(unit)) for at, site, unit in units[_PLACE].itertuples(index=False)]
        own = units["forced_value"].tolist() if "forced_value" in units else [None] * len(units)
    else:
        values = dict(units) if isinstance(units, Mapping) else dict.fromkeys(units)
        places, own = [_place_in(model, name) for name in values], list(values.values())
    held = [at if value is None else value for at in own]
    if not held:
        raise ValueError("there are no units to hold")
    known = [float(at) for at in held if at is not None and not math.isnan(at)]
    if len(known) < len(held):
        problem = "units are forced to a value each: give one for each name, or value= for all"
        raise ValueError(f"{problem}; of experts those of scope 'model' have one")
    values_of: dict[UnitPlace, set[float]] = {}
    for place, at in zip(places, known, strict=True):
        values_of.setdefault(place, set()).add(at)
    if twice := [unit_name(*place) for place, values in values_of.items() if len(values) > 1]:
        problem = f"{twice[0]} has several values, as experts of several concepts have"
        raise ValueError(f"{problem}: choose one concept, language and subset, or value= for all")
    layers, sites, indices = zip(*places, strict=True)
    widths = site_widths(model.config, sorted(set(sites)))
    # Names the first unit that the model does not have.
    UnitIndex.of((*place, width) for place, width in widths.items()).numbers(layers, sites, indices)
    return UnitSet(layers, sites, indices, known)


def _place_in(model: LoadedModel, name: str) -> UnitPlace:
    """The place of a unit by either of its names."""
    of_expert = expert_place(name)
    if of_expert is None:
        return place_of(name)
    (layer, expert, neuron), sizes = of_expert, dimensions(model.config)
    if sizes.experts == 1 or expert >= sizes.experts or neuron >= sizes.mlp:
        there = f"{sizes.experts} experts of {sizes.mlp} neurons" if sizes.experts > 1 else "no experts"
        raise ValueError(f"there is no unit {name}: a block of {model.folder} has {there}")
    return layer, "mlp_act", expert * sizes.mlp + neuron


def routing(model: LoadedModel, sentences: Sentences, *, batch_size: int = 32) -> pd.DataFrame:
    """Where the router of a mixture of experts sends the tokens of each language.

    Args:
        model: Of :func:`load_model`; a mixture of experts.
        sentences: Per language its sentences.
        batch_size: Sentences at a time.

    Returns:
        Columns ``lang, layer, expert, share``: of the language's tokens, without start and end token, the
        share that is sent to the expert. The units of the expert at ``mlp_act`` are 0 for all others. In a
        layer shares add up to the number of experts that each token is sent to.

    Raises:
        StudyError: If the model is no mixture of experts.

    Example:
        >>> first = bs.routing(model, texts).query("layer == 1")
        >>> first.pivot(index="expert", columns="lang", values="share")
    """
    _check_model(model)
    longest = max_positions(model.config) or ExtractionSettings().max_length
    tables = []
    for lang, texts in _by_lang(sentences):
        pairs, where = _by_id(lang, texts), f"sentences of {lang}"
        length = min(longest, ExtractionSettings().max_length)
        encoded = encode_sentences(model, pairs, max_length=length, where=where)
        shares_LE = routed_shares(model, encoded, batch_size=batch_size)
        table = pd.DataFrame(shares_LE, index=range(1, len(shares_LE) + 1)).rename_axis("layer")
        long = table.reset_index().melt("layer", var_name="expert", value_name="share")
        tables.append(long.sort_values(["layer", "expert"], ignore_index=True).assign(lang=lang))
    return pd.concat(tables, ignore_index=True)[["lang", "layer", "expert", "share"]]


def generate(model: LoadedModel, n: int = 4, *, seed: int = 0, **settings: Any) -> pd.DataFrame:
    """Let a model write from its start token alone; inside of :func:`force` or :func:`ablate` as it then is.

    Args:
        model: Of :func:`load_model`; no encoder.
        n: Number of texts.
        seed: Of sampling.
        **settings: Others of :class:`babelscope.analysis.settings.GenerationSettings`: ``max_new_tokens``,
            ``temperature``, ``top_p``, ``batch_size``.

    Returns:
        A row per text: ``text``, ``token_ids``, ``nll`` (mean nats per token, under the model as it is here,
        with what is held), ``n_tokens``, ``distinct_share`` and ``degenerate``.

    Raises:
        StudyError: If the model is an encoder or a setting is wrong.

    Example:
        >>> bs.generate(model, 2, max_new_tokens=8)["text"]
    """
    _check_model(model)
    requests = [TextRequest(UNFORCED, NO_SOURCE, NO_SOURCE, sample, 0, None) for sample in range(n)]
    chosen = GenerationSettings(k=1, samples=n, **settings)
    with torch.inference_mode():
        texts = generate_texts(model, requests, chosen, seed=seed, where=str(model.folder))
    return texts[["text", "token_ids", "nll", "n_tokens", "distinct_share", "degenerate"]]
