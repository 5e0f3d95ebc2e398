"""The explorer of a study that still runs: of the steps that are done, read as they lie in its folder.

The tables that a report is made of are collected when all is done; here they are put together from the files
of each step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock

import pandas as pd

from babelscope.analysis.audit.files import audit_files
from babelscope.analysis.audit.judge import collect_audit
from babelscope.analysis.ranking import best_of_models
from babelscope.errors import BabelscopeError
from babelscope.io.tables import concatenate, read_table
from babelscope.ops.layout import parse
from babelscope.ops.stages import all_jobs
from babelscope.report.catalogue import describe_steps
from babelscope.report.explorer.build import Explorer, build_explorer
from babelscope.report.explorer.page import explorer_page
from babelscope.report.summaries import without_flagged
from babelscope.report.views import excludes_flagged
from babelscope.study.config import Study

_OVERLAP, _BEST = "alignment/{model}/{steps}.overlap.parquet", "best/{model}/{steps}.h5"
_AUDIT = "audit/{model}/{steps}.h5"
#: Tables that are files of steps or models, one below the other; and those that are there as a whole.
_JOINED = {
    "overlap": _OVERLAP,
    "lifelines": "alignment/{model}.lifelines.parquet",
    "reliability": "alignment/{model}/{steps}.reliability.parquet",
    "traces": "traces/{model}/{steps}.parquet",
}
_WHOLE = {"pairs": "tables/pairs.tsv", "texts": "tables/texts.parquet"}
_SHOWN = {_BEST, _AUDIT, *_JOINED.values(), *_WHOLE.values()}


class LivePage:
    """The page of a study, made anew when what it shows has changed.

    Args:
        study: The study; it may be running, or not have begun.
    """

    def __init__(self, study: Study) -> None:
        self._study, self._results = study, Path(study.results)
        self._made = "", ""
        self._lock = Lock()

    @cached_property
    def _files(self) -> list[tuple[str, Path]]:
        """Pattern and path of all that is shown, as the study writes it."""
        paths = [path for job in all_jobs(self._study) for path in job.files]
        found = [(place.pattern, self._results / path) for path in paths if (place := parse(path))]
        return [each for each in dict.fromkeys(found) if each[0] in _SHOWN]

    def version(self) -> str:
        """What the page shows, in a word: another one when a file was added, changed or removed."""
        told = hashlib.sha256()
        for _, path in self._files:
            if path.is_file():
                stat = path.stat()
                told.update(f"{path} {stat.st_mtime_ns} {stat.st_size}\n".encode())
        return told.hexdigest()[:16]

    def html(self) -> str:
        """The page as it is now; what cannot be read is said in it."""
        with self._lock:
            version = self.version()
            if self._made[0] != version:
                self._made = version, self._render(version)
            return self._made[1]

    def _render(self, version: str) -> str:
        there: dict[str, list[Path]] = {}
        for pattern, path in self._files:
            if path.is_file():
                there.setdefault(pattern, []).append(path)
        try:
            explorer = self._explorer(there)
        except (BabelscopeError, OSError) as error:  # a job may just be writing it anew
            explorer = Explorer(missing=f"What is there cannot be read at the moment. {error}")
        return explorer_page(
            explorer,
            title=f"{self._study.report.title or self._study.name}: under way",
            lead=[self._told(there), "When all is done, report.html has it with figures and verdicts."],
            live=version,
        )

    def _explorer(self, there: Mapping[str, list[Path]]) -> Explorer:
        if not (there.get(_OVERLAP) and there.get(_BEST)):
            return Explorer(
                missing="No step is done yet whose experts could be shown. This page waits for one."
            )
        study, config = self._study, self._study.config
        tables = {name: concatenate(there[of]) for name, of in _JOINED.items() if of in there}
        tables |= {name: read_table(there[of][0]) for name, of in _WHOLE.items() if of in there}
        tables["models"] = pd.DataFrame([model.description for model in study.models.values()])
        tokens = {name: {s: model.tokens_at(s) for s in model.steps} for name, model in study.models.items()}
        tables["steps"] = describe_steps(tokens)
        if audits := there.get(_AUDIT):
            faults = {name: dict(model.known_faults) for name, model in study.models.items()}
            tables["audit"], _ = collect_audit(audit_files(audits), known_faults=faults)
        kept = without_flagged(tables) if excludes_flagged(config) else tables
        return build_explorer(
            config,
            {name: table for name, table in kept.items() if table is not None},
            best_of_models(there[_BEST]),
            megabytes=study.report.explorer_megabytes,
        )

    def _told(self, there: Mapping[str, list[Path]]) -> str:
        """How many steps of each model are shown."""
        places = [place for path in there.get(_OVERLAP, []) if (place := parse(self._below(path)))]
        counts = []
        for name, model in self._study.models.items():
            done = [
                step
                for step in model.steps
                if any(place.wildcards["model"] == name and place.holds(step) for place in places)
            ]
            counts.append(f"{name} {len(done)} of {len(model.steps)}")
        return f"Steps that are done: {'; '.join(counts)}. The page loads itself anew when one is added."

    def _below(self, path: Path) -> str:
        return path.relative_to(self._results).as_posix()
