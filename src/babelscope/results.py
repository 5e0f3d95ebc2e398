"""A results folder as data: its tables, figures, units and stored arrays.

``open_study("results/demo")`` reads nothing yet; a table is read when it is asked for. All that it gives is
what lies in the folder, so it needs neither the study's config nor a checkpoint, nor Snakemake.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from babelscope.analysis.experts import kept_units
from babelscope.analysis.ranking import BestFile, best_files
from babelscope.errors import DataError, ResultsError
from babelscope.io.files import AGAIN, check_contained
from babelscope.io.json import read_json
from babelscope.io.tables import read_table
from babelscope.io.yaml import packaged_yaml
from babelscope.ops.stored import ByCell, Stored
from babelscope.report.captions import load_captions
from babelscope.report.summaries import shared_unit_counts
from babelscope.units import place_of, unit_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from babelscope.report.figures.style import PlotStyle

_UNIT = ["layer", "site", "unit"]
_NAME = ["name", "text", "of the unit, such as `L03.mlp_act.117`"]
_STUDY = [
    "study",
    "text",
    "its name here, with which `model` begins: its folder's unless one was given",
]


def _no_table(name: object, there: Sequence[str]) -> ResultsError:
    """Says so if the table is one that other studies have."""
    hint = f"a study makes `{name}` if it asks for it (`views`) and has what it is made of"
    if name == "experts":
        hint = "experts are no table of the report: study.experts() has them"
    return ResultsError.lacks("table", name, there, hint if name in described_columns() else "")


def described_columns() -> Mapping[str, Any]:
    """Columns by table, as docs/formats.md explains them."""
    described: Mapping[str, Any] = packaged_yaml("babelscope", "columns.yaml")
    return described


class Tables(Mapping[str, pd.DataFrame]):
    """Tables by name, each read when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        files = sorted(path for path in folder.glob("*.*") if path.suffix in (".parquet", ".tsv"))
        self._path = {path.stem: path for path in files}
        self._read: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._path:
            raise _no_table(name, list(self._path))
        if name not in self._read:
            self._read[name] = read_table(self._path[name])
        return self._read[name].copy()

    def __contains__(self, name: object) -> bool:
        return name in self._path

    def __iter__(self) -> Iterator[str]:
        return iter(self._path)

    def __len__(self) -> int:
        return len(self._path)


class _Joined(Mapping[str, pd.DataFrame]):
    """Tables of several studies, one below the other; a model is then ``study/model``."""

    def __init__(self, studies: Mapping[str, Results]) -> None:
        self._studies = studies
        self._names = list(dict.fromkeys(name for study in studies.values() for name in study.tables))

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._names:
            raise _no_table(name, self._names)
        parts = []
        for study, results in self._studies.items():
            if name in results.tables:
                table = results.tables[name]
                renamed = {
                    column: f"{study}/" + table[column].astype(str)
                    for column in ("model", "control", "id")
                    if column in table
                }
                parts.append(table.assign(**renamed).assign(study=study))
        return pd.concat(parts, ignore_index=True)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True)
class _Readable:
    """What one study and several have in common."""

    tables: Mapping[str, pd.DataFrame]
    """All tables by name."""

    def table(self, name: str) -> pd.DataFrame:
        """A table of the report.

        Args:
            name: Such as ``overlap``.

        Raises:
            ResultsError: If there is none of this name.

        Example:
            >>> study.table("overlap").query("lang_a == '*' and layer == -1")[["step", "overlap", "null"]]
        """
        return self.tables[name]

    def columns(self, name: str) -> pd.DataFrame:
        """What the columns of a table mean: ``column, type, meaning``.

        Args:
            name: Of the table; ``experts`` for what :meth:`Results.experts` gives.

        Raises:
            ResultsError: If there is none of this name.

        Example:
            >>> study.columns("overlap").set_index("column")["meaning"]["null"]
        """
        described = described_columns()
        if name not in described:
            raise ResultsError.lacks("table", name, list(described))
        return pd.DataFrame([*described[name], *self._more(name)], columns=["column", "type", "meaning"])

    def _more(self, table: str) -> list[list[str]]:
        """Columns that are not in the files, as those of :meth:`columns`."""
        return []

    @property
    def figures(self) -> list[str]:
        """Names of the figures that these tables give."""
        return [name for name, caption in load_captions().items() if caption.tables[0] in self.tables]

    def figure(
        self,
        name: str,
        *,
        step: int | None = None,
        style: PlotStyle | None = None,
        exclude_flagged: bool = False,
    ) -> Figure:
        """Draw a figure of the report.

        Args:
            name: One of :attr:`figures`; of ``overlap_over_steps`` also ``overlap``.
            step: Draw it as it was when training had come so far: later steps are left out.
            style: How; as the report by default.
            exclude_flagged: Leave the checkpoints out that the audit flags, instead of marking them.

        Raises:
            ResultsError: If there is no such figure, or no step so early.

        Example:
            >>> study.figure("hero", step=512).savefig("hero.pdf")
        """
        from babelscope.report.figures.gallery import draw

        name = name if name in self.figures else f"{name}_over_steps"
        if name not in self.figures:
            raise ResultsError.lacks("figure", name.removesuffix("_over_steps"), self.figures)
        wanted = [*load_captions()[name].tables, "models", "steps", "audit"]
        tables = {each: self.tables[each] for each in dict.fromkeys(wanted) if each in self.tables}
        if step is not None:
            tables = {each: _until(table, step) for each, table in tables.items()}
            if tables[load_captions()[name].tables[0]].empty:
                raise ResultsError.lacks("step up to", step, sorted(self.tables[wanted[0]]["step"].unique()))
        return draw(name, tables, style, exclude_flagged=exclude_flagged)


def _until(table: pd.DataFrame, step: int) -> pd.DataFrame:
    return table[table["step"] <= step] if "step" in table else table


@dataclass(frozen=True)
class UnitView:
    """What the results say of one unit.

    Attributes:
        name: ``L03.mlp_act.117``.
        layer, site, unit: Its place.
        expert_of: Where it is an expert: a row per model, step, language, concept and subset, with its rank
            and average precision.
        lifeline: If it is followed through training: a row per model, concept, step and language; else empty.
        results: Of which study.
    """

    name: str
    layer: int
    site: str
    unit: int
    expert_of: pd.DataFrame = field(repr=False)
    lifeline: pd.DataFrame = field(repr=False)
    results: Results = field(repr=False)

    @property
    def languages(self) -> pd.DataFrame:
        """In how many languages it is an expert of a concept that it is followed for, by model and step."""
        return shared_unit_counts(self.lifeline)

    def course(self, concept: str | None = None, *, model: str | None = None) -> pd.DataFrame:
        """Its average precision for a concept at every step and in every language.

        Args:
            concept: By default the one that it is an expert of most often.
            model: The run; by default the first.

        Returns:
            Columns ``model, concept, step, lang, ap, at_most, chance``: where ``at_most`` it was not among
            the units that are kept and has no more than ``ap``; ``chance`` is that of scores in random order
            on half of the sentences.

        Raises:
            ResultsError: If there is no such concept or run, or none is named and it is an expert of none.

        Example:
            >>> study.unit("L03.attn_out.10").course("water").query("lang == 'de'")
        """
        model = self.results.models[0] if model is None else model
        files = self.results.best(model)
        concepts = next(iter(files.values())).concepts
        if concept is None:
            own = self.expert_of.query("model == @model and scope == 'model'")["concept"].value_counts()
            if own.empty:
                raise ResultsError.lacks("concept of which it is an expert in", model, [])
            concept = str(own.index[0])
        if concept not in concepts:
            raise ResultsError.lacks("concept", concept, concepts)
        rows = []
        for (step, lang), file in sorted(files.items()):
            at = file.concepts.index(concept)
            number = file.units.numbers([self.layer], [self.site], [self.unit])
            (ap,), (below,) = file.ap(np.array([at]), number)
            known = not math.isnan(ap)
            rows.append((model, concept, step, lang, ap if known else below, not known, file.chance_ap[at]))
        return pd.DataFrame(rows, columns=["model", "concept", "step", "lang", "ap", "at_most", "chance"])

    def figure(
        self, concept: str | None = None, *, model: str | None = None, style: PlotStyle | None = None
    ) -> Figure:
        """Draw :meth:`course`: a line per language over steps.

        Args:
            concept, model: As there.
            style: How; as the report by default.

        Raises:
            ResultsError: As there.

        Example:
            >>> study.unit("L03.attn_out.10").figure("water")
        """
        from babelscope.report.figures.single import draw_course

        course = self.course(concept, model=model)
        return draw_course(course, f"{self.name} for “{course['concept'][0]}”, {course['model'][0]}", style)


@dataclass(frozen=True)
class Results(_Readable, Stored):
    """The results of one study.

    Attributes:
        folder: ``results/<study>``.
    """

    def __repr__(self) -> str:
        return f"<{self.folder}: {len(self.tables)} .tables, {len(self.figures)} .figures>"

    def _more(self, table: str) -> list[list[str]]:
        return [_NAME] if table == "experts" else []

    @cached_property
    def study(self) -> Mapping[str, Any]:
        """What the study says, with every default filled in, and the versions that it was run with.

        Raises:
            ResultsError: If the report was not written yet.
            DataError: If the file holds something else.
        """
        path = self.folder / "study.json"
        if not path.exists():
            raise ResultsError(
                f"{path}: is not there; the rule render_report writes it, at the end of a study"
            )
        try:
            found: Mapping[str, Any] = read_json(path)
        except (OSError, ValueError) as error:
            raise DataError(path, f"cannot be read: {error}", AGAIN) from error
        if not isinstance(found, dict) or not isinstance(found.get("settings"), dict):
            raise DataError(path, "holds no settings of a study", AGAIN)
        return found

    @property
    def settings(self) -> Mapping[str, Any]:
        """The study's config, with every default filled in."""
        settings: Mapping[str, Any] = self.study["settings"]
        return settings

    @property
    def models(self) -> list[str]:
        """The runs, such as ``bridged-seed0``."""
        return [str(name) for name in self.tables["models"]["model"]]

    def experts(
        self,
        *,
        concept: str | None = None,
        lang: str | None = None,
        step: int | None = None,
        model: str | None = None,
        subset: str = "all",
        scope: str = "model",
    ) -> pd.DataFrame:
        """Experts, the best first.

        Args:
            concept, lang, step, model: Only these; all by default.
            subset: Sentences that they were chosen on: ``all``, or the half ``a`` or ``b``.
            scope: ``model``, or ``layer``: the best within each.

        Returns:
            The columns of ``experts/{model}/{steps}.parquet`` and ``name``.

        Raises:
            ResultsError: If there is no such value.

        Example:
            >>> study.experts(concept="water", lang="de", step=2048).head()
        """
        wanted = {
            "concept": concept,
            "lang": lang,
            "step": step,
            "model": model,
            "subset": subset,
            "scope": scope,
        }
        wanted = {column: value for column, value in wanted.items() if value is not None}
        parts = []
        for path in self._files("experts/{model}/{steps}.parquet"):
            table = read_table(path)
            keep = pd.Series(True, index=table.index)
            for column, value in wanted.items():
                keep &= table[column] == value
            parts.append(table[keep])
        found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        if found.empty:
            raise self._no_experts(wanted)
        names = [unit_name(*place) for place in found[_UNIT].itertuples(index=False)]
        return found.assign(name=names)

    def kept(self, model: str, *, concept: str, lang: str, step: int) -> pd.DataFrame:
        """The best units of a concept, experts or not: from which those that are forced are taken.

        Args:
            model: The run.
            concept, lang, step: Whose.

        Returns:
            The columns of :func:`babelscope.analysis.experts.kept_units`, among them ``forced_value``, and
            ``name``; best first.

        Raises:
            ResultsError: If there is no such value.

        Example:
            >>> units = study.kept("bridged-seed0", concept="water", lang="de", step=2048).head(50)
        """
        files = self.best(model)
        if (step, lang) not in files:
            raise ResultsError.lacks("step and language", (step, lang), sorted(files))
        table = kept_units(files[step, lang])
        found = table[table["concept"] == concept]
        if found.empty:
            raise ResultsError.lacks("concept", concept, list(dict.fromkeys(table["concept"])))
        names = [unit_name(*place) for place in found[_UNIT].itertuples(index=False)]
        return found.assign(name=names).reset_index(drop=True)

    def _no_experts(self, wanted: Mapping[str, Any]) -> ResultsError:
        """Names the value that no table of experts has."""
        tables = [read_table(path) for path in self._files("experts/{model}/{steps}.parquet")]
        if not tables:
            return ResultsError(f"{self.folder}: holds no experts yet")
        for column, value in wanted.items():
            there = list(dict.fromkeys(each for table in tables for each in table[column].unique()))
            if value not in there:
                return ResultsError.lacks(column, value, there)
        return ResultsError(f"no experts of {dict(wanted)} together")

    def unit(self, name: str) -> UnitView:
        """One unit, by its name.

        Args:
            name: Such as ``L03.mlp_act.117``.

        Raises:
            ValueError: If the name is none of a unit.
            ResultsError: If no model of the study has it among its sites.

        Example:
            >>> study.unit("L03.mlp_out.11").expert_of
        """
        place = place_of(name)
        self._check_unit(name)
        parts = [_at(read_table(path), place) for path in self._files("experts/{model}/{steps}.parquet")]
        lines = _at(self.tables["lifelines"], place) if "lifelines" in self.tables else pd.DataFrame()
        experts = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        return UnitView(name, *place, expert_of=experts, lifeline=lines, results=self)

    def meeting(
        self, concept: str, langs: Sequence[str], *, step: int | None = None, model: str | None = None
    ) -> pd.DataFrame:
        """The experts of a concept in two languages, and which of them are the same units.

        Args:
            concept: The concept.
            langs: The two languages.
            step: The step; by default the last.
            model: The run; by default the first.

        Returns:
            Columns ``model, step, concept, layer, site, unit, name, found, ap_a, ap_b``: ``found`` is
            ``both``, or the language of which alone it is an expert; the average precision in the two
            languages, NaN where it is no expert.

        Raises:
            ResultsError: If there is no such value, or the languages are not two.

        Example:
            >>> study.meeting("water", ["en", "zh"])["found"].value_counts()
        """
        if isinstance(langs, str) or len(set(langs)) != 2:
            raise ResultsError(f"two languages meet; got {langs!r}")
        model = self.models[0] if model is None else model
        if step is None:
            step = max(at for at, _ in self.best(model))
        place, sides = [*_UNIT, "name"], []
        for lang, end in zip(langs, "ab", strict=True):
            rows = self.experts(concept=concept, lang=lang, step=step, model=model)
            sides.append(rows[[*place, "ap"]].rename(columns={"ap": f"ap_{end}"}))
        met = sides[0].merge(sides[1], on=place, how="outer", indicator=True)
        names = {"both": "both", "left_only": langs[0], "right_only": langs[1]}
        found = met.pop("_merge").astype(str).map(names)
        met.insert(len(place), "found", found)
        met.insert(0, "model", model)
        met.insert(1, "step", step)
        met.insert(2, "concept", concept)
        return met.sort_values(_UNIT, ignore_index=True)

    def raster(
        self,
        concept: str,
        langs: Sequence[str],
        *,
        step: int | None = None,
        model: str | None = None,
        style: PlotStyle | None = None,
    ) -> Figure:
        """Draw :meth:`meeting`: each expert at its place, a band per layer and site.

        One concept and one pair of languages are an example: the table ``overlap`` has the mean over
        concepts beside its null.

        Args:
            concept, langs, step, model: As there.
            style: How; as the report by default.

        Raises:
            ResultsError: As there.

        Example:
            >>> study.raster("water", ["en", "zh"])
        """
        from babelscope.report.figures.single import draw_raster

        met = self.meeting(concept, langs, step=step, model=model)
        run, at = str(met["model"][0]), int(met["step"][0])
        title = f"Experts of “{concept}” in {' and '.join(langs)}, {run}, step {at}"
        one, other = langs
        return draw_raster(met, next(iter(self.best(run).values())).units.sites, (one, other), title, style)

    def _check_unit(self, name: str) -> None:
        """By the units that files of best units say they are chosen from, where there are such files."""
        layer, site, unit = place_of(name)
        firsts = {path.parent.name: path for path in reversed(self._files("best/{model}/{steps}.h5"))}
        files = [next(iter(best_files([path]).values())) for path in firsts.values()]
        sites = {place for file in files for place in file.units.sites}
        if sites and not any((layer, site) == (at, where) and unit < width for at, where, width in sites):
            there = [f"{unit_name(at, where, 0)} to {width - 1}" for at, where, width in sorted(sites)]
            raise ResultsError.lacks("unit", name, there)

    def traces(self, model: str | None = None, unit: str | None = None) -> pd.DataFrame:
        """What units on show do on every token of a few sentences.

        Args:
            model: Only of this run; of all by default.
            unit: Only this unit, such as ``L03.mlp_out.11``.

        Returns:
            The rows of the table ``traces``.

        Raises:
            ResultsError: If the study has no traces, or none of this run or unit.
            ValueError: If the name is none of a unit.

        Example:
            >>> study.traces(unit="L03.mlp_out.11").query("kind == 'strongest'")[["step", "lang", "text"]]
        """
        table = self.table("traces")
        if model is not None:
            table, there = table[table["model"] == model], table["model"].unique().tolist()
            if table.empty:
                raise ResultsError.lacks("traces of model", model, there)
        if unit is not None:
            found = _at(table, place_of(unit))
            if found.empty:
                places = table[_UNIT].drop_duplicates().itertuples(index=False)
                raise ResultsError.lacks("traces of unit", unit, [unit_name(*place) for place in places])
            table = found
        return table.reset_index(drop=True)


def _at(table: pd.DataFrame, place: tuple[int, str, int]) -> pd.DataFrame:
    for column, value in zip(_UNIT, place, strict=True):
        table = table[table[column] == value]
    return table.reset_index(drop=True)


@dataclass(frozen=True)
class ResultsSet(_Readable):
    """The results of several studies side by side; a model is ``study/model``.

    Figures that set models on one axis take tokens seen where all are known, since steps of different studies
    need not be of one size.
    """

    studies: Mapping[str, Results]

    def _more(self, table: str) -> list[list[str]]:
        return [_STUDY]

    @property
    def models(self) -> list[str]:
        """The runs of all studies, ``study/model``."""
        return [f"{name}/{model}" for name, study in self.studies.items() for model in study.models]

    def best(self, model: str) -> ByCell[BestFile]:
        """The best units of every concept by step and language, of one run.

        Args:
            model: ``study/model``.

        Raises:
            ResultsError: If there is no such study, or its folder holds none of the model.

        Example:
            >>> both.best("demo/bridged-seed0")[2048, "de"].concepts
        """
        study, _, run = model.partition("/")
        if study not in self.studies:
            raise ResultsError.lacks("study", study, list(self.studies))
        return self.studies[study].best(run)

    def __repr__(self) -> str:
        return f"<{', '.join(self.studies)}: {len(self.tables)} .tables, {len(self.figures)} .figures>"


def open_study(folder: Path | str) -> Results:
    """Open a results folder.

    Args:
        folder: Such as ``results/demo``.

    Raises:
        ResultsError: If it holds no tables.
        DataError: If a link in it leads out of it.

    Example:
        >>> study = bs.open_study("results/demo")
        >>> study.figure("hero")
    """
    folder = Path(folder)
    check_contained(folder.resolve())  # the name that a user gives may be a link; what lies in it may not
    tables = Tables(folder / "tables")
    if not tables:
        problem = "holds no tables" if folder.is_dir() else "is no folder"
        raise ResultsError(
            f"{folder}: {problem}; a study's results are results/STUDY, once its tables are made"
        )
    return Results(folder=folder, tables=tables)


def open_studies(folders: Sequence[Path | str] | Mapping[str, Path | str]) -> ResultsSet:
    """Open several results folders side by side.

    Args:
        folders: The folders, or the folders by the name that a study has here; by default its folder's.

    Raises:
        ResultsError: If one holds no tables, or two have one name.

    Example:
        >>> both = bs.open_studies(["results/demo", "results/real-text"])
        >>> both.table("claims")[["study", "finding", "model", "verdict"]]
    """
    if isinstance(folders, (str, Path)):
        raise ResultsError(f"{folders}: is one folder; give a list of folders, or open it with open_study")
    if isinstance(folders, Mapping):
        named = {name: Path(folder) for name, folder in folders.items()}
    else:
        named = {Path(folder).name: Path(folder) for folder in folders}
        if len(named) < len(folders):
            raise ResultsError("two of the folders have one name; give them as a mapping of names to folders")
    studies = {name: open_study(folder) for name, folder in named.items()}
    return ResultsSet(_Joined(studies), studies)
