"""A results folder as data: its tables, figures, units and stored arrays.

``open_study("results/demo")`` reads nothing yet; a table is read when it is asked for. All that it gives is
what lies in the folder, so it needs neither the study's config nor a checkpoint, nor Snakemake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from babelscope.analysis.experts import kept_units
from babelscope.analysis.ranking import BestFile, best_files
from babelscope.capture.store import TokenFile, UnitFile, token_files, unit_files
from babelscope.errors import BabelscopeError, DataError
from babelscope.io.files import AGAIN, check_contained
from babelscope.io.json import read_json
from babelscope.io.tables import read_table
from babelscope.io.yaml import packaged_yaml
from babelscope.ops.layout import parse
from babelscope.report.captions import load_captions
from babelscope.report.summaries import shared_unit_counts
from babelscope.units import place_of, unit_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from babelscope.report.figures.style import PlotStyle

CellKey = tuple[str, int, str]
"""Model (a run, such as ``bridged-seed0``), step and language."""

_UNIT = ["layer", "site", "unit"]


class ResultsError(BabelscopeError):
    """Something that is asked for is not in the results."""

    section = "not-in-the-results"


def _lacks(what: str, name: object, there: Sequence[object]) -> ResultsError:
    shown = ", ".join(map(str, there)) or "none"
    return ResultsError(f"no {what} {name!r}; there are: {shown}")


class Tables(Mapping[str, pd.DataFrame]):
    """Tables by name, each read when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        files = sorted(path for path in folder.glob("*.*") if path.suffix in (".parquet", ".tsv"))
        self._path = {path.stem: path for path in files}
        self._read: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._path:
            raise _lacks("table", name, list(self._path))
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
            raise _lacks("table", name, self._names)
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
            name: Of the table.

        Raises:
            ResultsError: If there is none of this name.

        Example:
            >>> study.columns("overlap").set_index("column")["meaning"]["null"]
        """
        described = packaged_yaml("babelscope", "columns.yaml")
        if name not in described:
            raise _lacks("table", name, list(described))
        return pd.DataFrame(described[name], columns=["column", "type", "meaning"])

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
            raise _lacks("figure", name.removesuffix("_over_steps"), self.figures)
        wanted = [*load_captions()[name].tables, "models", "steps", "audit"]
        tables = {each: self.tables[each] for each in dict.fromkeys(wanted) if each in self.tables}
        if step is not None:
            tables = {each: _until(table, step) for each, table in tables.items()}
            if tables[load_captions()[name].tables[0]].empty:
                raise _lacks("step up to", step, sorted(self.tables[wanted[0]]["step"].unique()))
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
    """

    name: str
    layer: int
    site: str
    unit: int
    expert_of: pd.DataFrame = field(repr=False)
    lifeline: pd.DataFrame = field(repr=False)

    @property
    def languages(self) -> pd.DataFrame:
        """In how many languages it is an expert of a concept that it is followed for, by model and step."""
        return shared_unit_counts(self.lifeline)


@dataclass(frozen=True)
class Results(_Readable):
    """The results of one study.

    Attributes:
        folder: ``results/<study>``.
    """

    folder: Path

    def __repr__(self) -> str:
        return f"<{self.folder}: {len(self.tables)} .tables, {len(self.figures)} .figures>"

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
            raise _lacks("step and language", (step, lang), sorted(files))
        table = kept_units(files[step, lang])
        found = table[table["concept"] == concept]
        if found.empty:
            raise _lacks("concept", concept, list(dict.fromkeys(table["concept"])))
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
                return _lacks(column, value, there)
        return ResultsError(f"no experts of {dict(wanted)} together")

    def unit(self, name: str) -> UnitView:
        """One unit, by its name.

        Args:
            name: Such as ``L03.mlp_act.117``.

        Raises:
            ValueError: If the name is none of a unit.

        Example:
            >>> study.unit("L03.mlp_out.11").expert_of
        """
        place = place_of(name)
        parts = [_at(read_table(path), place) for path in self._files("experts/{model}/{steps}.parquet")]
        lines = _at(self.tables["lifelines"], place) if "lifelines" in self.tables else pd.DataFrame()
        experts = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        return UnitView(name, *place, expert_of=experts, lifeline=lines)

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
                raise _lacks("traces of model", model, there)
        if unit is not None:
            found = _at(table, place_of(unit))
            if found.empty:
                places = table[_UNIT].drop_duplicates().itertuples(index=False)
                raise _lacks("traces of unit", unit, [unit_name(*place) for place in places])
            table = found
        return table.reset_index(drop=True)

    def best(self, model: str) -> dict[tuple[int, str], BestFile]:
        """The best units of every concept by step and language, of one run.

        Args:
            model: The run.

        Raises:
            ResultsError: If the folder holds none of it.
        """
        return best_files(self._of_run("best/{model}/{steps}.h5", model))

    def units(self, model: str) -> dict[tuple[int, str], UnitFile]:
        """Pooled activations by step and language, of one run; only a study that keeps them has some.

        Args:
            model: The run.

        Raises:
            ResultsError: If the folder holds none of it.
        """
        return unit_files(self._of_run("activations/{model}/{steps}/{langs}.units.h5", model))

    def tokens(self, model: str) -> dict[tuple[int, str], TokenFile]:
        """States of sampled tokens and sentence means by step and language, of one run.

        Args:
            model: The run.

        Raises:
            ResultsError: If the folder holds none of it.
        """
        return token_files(self._of_run("activations/{model}/{steps}/{langs}.tokens.h5", model))

    def _of_run(self, pattern: str, model: str) -> list[Path]:
        files = [
            path for path in self._files(pattern) if f"/{model}/" in path.relative_to(self.folder).as_posix()
        ]
        if not files:
            there = sorted({path.relative_to(self.folder).parts[1] for path in self._files(pattern)})
            raise _lacks(f"{pattern.partition('/')[0]} of model", model, there)
        return files

    def _files(self, pattern: str) -> list[Path]:
        """Files of a kind, by their pattern in the layout."""
        found = []
        for path in sorted((self.folder / pattern.partition("/")[0]).rglob(f"*{Path(pattern).suffix}")):
            place = parse(path.relative_to(self.folder).as_posix())
            if place is not None and place.pattern == pattern:
                found.append(path)
        return found


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
    return Results(tables, folder)


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
    if isinstance(folders, Mapping):
        named = {name: Path(folder) for name, folder in folders.items()}
    else:
        named = {Path(folder).name: Path(folder) for folder in folders}
        if len(named) < len(folders):
            raise ResultsError("two of the folders have one name; give them as a mapping of names to folders")
    studies = {name: open_study(folder) for name, folder in named.items()}
    return ResultsSet(_Joined(studies), studies)
