"""What is stored of a study beside its tables: arrays by cell, sentences, labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd

from babelscope.analysis.audit.files import CheckpointAudit, audit_files
from babelscope.analysis.choices import KeptUnits
from babelscope.analysis.choices import kept_units as kept_choices
from babelscope.analysis.ranking import BestFile, best_files
from babelscope.analysis.scores import ScoreFile, score_files
from babelscope.capture.store import TokenFile, UnitFile, token_files, unit_files
from babelscope.errors import ResultsError
from babelscope.io.cells import Cell
from babelscope.io.tables import read_table
from babelscope.ops.layout import parse

#: What a study keeps only if it is told to, and by which key.
_KEEPS = {
    "activations/{model}/{steps}/{langs}.units.h5": "keep_activations",
    "scores/{model}/{steps}/{langs}.h5": "keep_scores",
}

T = TypeVar("T")


class ByCell(dict[Cell, T]):
    """What is stored, by step and language; a cell that is not there is answered with those that are."""

    def __missing__(self, cell: object) -> T:
        steps, langs = (", ".join(map(str, sorted({each[at] for each in self}))) for at in (0, 1))
        raise ResultsError(f"no step and language {cell!r}; there are: steps {steps}; languages {langs}")


@dataclass(frozen=True)
class Stored:
    """The stored files of a results folder.

    Attributes:
        folder: ``results/<study>``.
    """

    folder: Path

    def sentences(self, lang: str) -> dict[str, str]:
        """The analysed sentences of a language by their ids, as :func:`babelscope.activations` takes them.

        Args:
            lang: The language.

        Raises:
            ResultsError: If the folder holds none of it.

        Example:
            >>> study.sentences("de")
        """
        table = self._of_language("sentences/{lang}.tsv", lang)
        return dict(zip(table["sentence_id"].astype(str), table["text"].astype(str), strict=True))

    def labels(self, lang: str) -> pd.DataFrame:
        """Which sentences express which concept, as :func:`babelscope.score_units` takes them.

        Args:
            lang: The language.

        Returns:
            The columns of ``concepts/{lang}.tsv``, see docs/formats.md.

        Raises:
            ResultsError: If the folder holds none of it.

        Example:
            >>> study.labels("de").groupby("concept")["label"].sum()
        """
        return self._of_language("concepts/{lang}.tsv", lang)

    def _of_language(self, pattern: str, lang: str) -> pd.DataFrame:
        files = {path.stem: path for path in self._files(pattern)}
        if lang not in files:
            raise ResultsError.lacks(f"{pattern.partition('/')[0]} of language", lang, list(files))
        return read_table(files[lang])

    def best(self, model: str) -> ByCell[BestFile]:
        """The best units of every concept by step and language, of one run.

        Args:
            model: The run.

        Raises:
            ResultsError: If the folder holds none of it.

        Example:
            >>> study.best("bridged-seed0")[2048, "de"].best("all").ap
        """
        return ByCell(best_files(self._of_run("best/{model}/{steps}.h5", model)))

    def scores(self, model: str) -> ByCell[ScoreFile]:
        """Average precision of every unit by step and language, of one run.

        Only a study that says ``keep_scores`` has some.

        Args:
            model: The run.

        Raises:
            ResultsError: If the folder holds none of it.

        Example:
            >>> study.scores("bridged-seed0")[2048, "de"].read(1, "mlp_out", "ap_all")  # concepts x units
        """
        return ByCell(score_files(self._of_run("scores/{model}/{steps}/{langs}.h5", model)))

    def choices(self, model: str) -> ByCell[KeptUnits]:
        """The best units at every site and on every half, for other choices, of one run.

        Args:
            model: The run.

        Raises:
            ResultsError: If the folder holds none of it.

        Example:
            >>> study.choices("bridged-seed0")[2048, "de"].chosen(k=5)
        """
        return ByCell(kept_choices(self._of_run("best/{model}/{steps}.choices.h5", model)))

    def audits(self, model: str) -> dict[int, CheckpointAudit]:
        """What the audit has measured of each checkpoint of one run, by step.

        Args:
            model: The run.

        Raises:
            ResultsError: If the folder holds none of it.

        Example:
            >>> study.audits("bridged-seed0")[2048].losses["de"].loss
        """
        found = audit_files(self._of_run("audit/{model}/{steps}.h5", model))
        return {step: audit for (_, step), audit in sorted(found.items())}

    def units(self, model: str) -> ByCell[UnitFile]:
        """Pooled activations by step and language, of one run.

        Only a study that says ``keep_activations`` has some.

        Args:
            model: The run.

        Raises:
            ResultsError: If the folder holds none of it.

        Example:
            >>> study.units("bridged-seed0")[2048, "de"].read(1, "mlp_out")  # sentences x units
        """
        return ByCell(unit_files(self._of_run("activations/{model}/{steps}/{langs}.units.h5", model)))

    def tokens(self, model: str) -> ByCell[TokenFile]:
        """States of sampled tokens and sentence means by step and language, of one run.

        Args:
            model: The run.

        Raises:
            ResultsError: If the folder holds none of it.

        Example:
            >>> study.tokens("bridged-seed0")[2048, "de"].states(2)  # tokens x width
        """
        return ByCell(token_files(self._of_run("activations/{model}/{steps}/{langs}.tokens.h5", model)))

    def _of_run(self, pattern: str, model: str) -> list[Path]:
        there = self._files(pattern)
        files = [path for path in there if path.relative_to(self.folder).parts[1] == model]
        if not files:
            kind = pattern.partition("/")[0]
            key = _KEEPS.get(pattern, "") if not there else ""
            hint = f"they are removed once they are used, unless the study says `{key}: true`" if key else ""
            runs = sorted({path.relative_to(self.folder).parts[1] for path in there})
            raise ResultsError.lacks(f"{kind} of model", model, runs, hint)
        return files

    def _files(self, pattern: str) -> list[Path]:
        """Files of a kind, by their pattern in the layout."""
        found = []
        for path in sorted((self.folder / pattern.partition("/")[0]).rglob(f"*{Path(pattern).suffix}")):
            place = parse(path.relative_to(self.folder).as_posix())
            if place is not None and place.pattern == pattern:
                found.append(path)
        return found
