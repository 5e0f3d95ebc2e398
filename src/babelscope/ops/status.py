"""The state of a study at a glance: what is done, under way, failed, and what still waits.

What a run would do is Snakemake's to say (``snakemake --summary``: every file, and whether it is up to date);
what it is doing now is in its markers of unfinished files and in its newest log.
"""

from __future__ import annotations

import base64
import binascii
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from babelscope.errors import BabelscopeError
from babelscope.ops.costs import STAGES
from babelscope.ops.runs import Run, recorded_runs

#: Stages in the table, by the name of their column.
COLUMNS = {
    "model": ("pretrain_step", "fetch_checkpoint", "initialise_checkpoint"),
    "audit": ("audit_checkpoint",),
    "extract": ("extract_activations",),
    "score": ("score_units",),
    "select": ("select_experts",),
    "align": ("align_experts",),
    "probe": ("fit_language_probe",),
    "write": ("generate_text",),
    "identify": ("identify_language",),
}
DONE, RUNNING, FAILED, INTERRUPTED, WAITING = "done", "under way", "failed", "interrupted", "waiting"
_LOG_LINES = 15


@dataclass(frozen=True)
class File:
    """A file that the study makes.

    Attributes:
        path: As Snakemake names it.
        stage: The rule that makes it, without the label of a batch.
        model: Run id, or empty.
        step: Training step, or None.
        state: One of the five states.
    """

    path: str
    stage: str
    model: str
    step: int | None
    state: str


@dataclass(frozen=True)
class Failure:
    """A job that failed in the newest run and whose output is not there.

    Attributes:
        rule: Its rule.
        output: Its first output.
        cell: What of the study it computes, in words.
        log: Its log, if there is one.
        lines: The last lines of that log.
        slurm_job: Its id, if it ran on a cluster.
    """

    rule: str
    output: str
    cell: str
    log: str
    lines: tuple[str, ...]
    slurm_job: str


@dataclass(frozen=True)
class Progress:
    """The state of a study.

    Attributes:
        files: All that it makes.
        failures: Jobs that failed.
        run: The newest run, if there was any.
    """

    files: tuple[File, ...]
    failures: tuple[Failure, ...]
    run: Run | None

    def count(self, state: str) -> int:
        """Files in a state."""
        return sum(file.state == state for file in self.files)


def look(results: str, snakemake: Sequence[str]) -> Progress:
    """See how far a study is. Starts nothing, locks nothing, changes nothing.

    Args:
        results: Folder of its results, below the working directory.
        snakemake: Arguments that name the study to Snakemake, such as ``--configfile``.

    Raises:
        BabelscopeError: If Snakemake cannot plan the study, with its reason.
    """
    runs = recorded_runs(results)
    living = [run for run in runs if run.is_alive]
    run = (living or runs)[-1] if runs else None
    alive = bool(living)
    failures = _failures(run) if run else []
    failed = {output for _, outputs in failures for output in outputs}
    begun = unfinished_outputs(Path(".snakemake/incomplete"))
    files = []
    for path, rule, pending, missing in _summary(snakemake):
        if path in begun and alive:
            state = RUNNING
        # Snakemake does not ask for a file that is lost while what was made from it is still there.
        elif path in failed and (pending or missing):
            state = FAILED
        elif not pending:
            state = DONE
        else:
            state = INTERRUPTED if path in begun else WAITING
        model, step = _cell_of(path, results)
        files.append(File(path, stage_of(rule), model, step, state))
    lost = {file.path for file in files if file.state == FAILED}
    return Progress(tuple(files), tuple(failure for failure, outputs in failures if lost & set(outputs)), run)


def stage_of(rule: str) -> str:
    """A rule without the label of its batch."""
    return max((stage for stage in STAGES if rule.startswith(stage)), key=len, default=rule)


def unfinished_outputs(folder: Path) -> set[str]:
    """Files that a job has begun and not ended, from the markers of Snakemake."""
    found = set()
    for marker in filter(Path.is_file, folder.rglob("*")):
        name = "".join(part.removeprefix("@") for part in marker.relative_to(folder).parts)
        try:
            found.add(base64.b64decode(name, validate=True).decode())
        except (binascii.Error, UnicodeDecodeError):
            continue  # a folder of a name that is longer than a file's may be
    return found


def _summary(arguments: Sequence[str]) -> Iterable[tuple[str, str, bool, bool]]:
    """Per file its path, its rule, whether it would be made anew, and whether it is missing."""
    command = [
        sys.executable, "-m", "snakemake", "--summary", "--nolock", "--cores", "1",
        "--workflow-profile", "none", *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BabelscopeError(
            f"Snakemake cannot plan this study:\n{done.stderr.strip() or done.stdout.strip()}"
        )
    header, *lines = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") >= 5]
    if header[0] != "output_file" or header[-1] != "plan":
        raise BabelscopeError(f"this Snakemake's summary has other columns: {', '.join(header)}")
    for fields in lines:
        row = dict(zip(header, fields, strict=False))
        pending, missing = row["plan"] == "update pending", row["status"] == "missing"
        yield row["output_file"], row["rule"], pending, missing


def _cell_of(path: str, results: str) -> tuple[str, int | None]:
    """Model and step of a file, from its place."""
    parts = path.removeprefix(f"{results}/").split("/")
    if len(parts) < 3 or parts[0] in ("tables", "figures", "corpora", "tokenizers"):
        return "", None
    step = re.match(r"\d+", parts[2])
    return parts[1], int(step[0]) if step else None


_BLOCK = re.compile(r"^Error in (?:group job|rule) (?P<rule>\w+):\n(?P<body>(?: {4}.*\n?)*)", re.M)


def _failures(run: Run) -> list[tuple[Failure, list[str]]]:
    """What the log of a run says of jobs that failed; of retried ones the last attempt."""
    try:
        text = Path(run.log).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    last: dict[str, tuple[Failure, list[str]]] = {}
    for block in _BLOCK.finditer(text):
        fields = dict(re.findall(r"^ {4}(\w+): (.*)$", block["body"], re.M))
        outputs = [name.strip() for name in fields.get("output", "").split(",") if name.strip()]
        if not outputs:
            continue
        log = re.sub(r" \(check log file.*$", "", fields.get("log", "")).split(",")[0].strip()
        place = Path(log) if log else None
        failure = Failure(
            rule=block["rule"],
            output=outputs[0],
            cell=_in_words(outputs),
            log=log,
            lines=_tail(place) if place else (),
            slurm_job=fields.get("external_jobid", ""),
        )
        last[outputs[0]] = failure, outputs
    return list(last.values())


def _in_words(outputs: Sequence[str]) -> str:
    """``model m, steps 0 to 4, en to de`` from the places of a job's files."""
    cells = [tuple(path.split("/")[3:]) for path in outputs if path.count("/") >= 4]
    if not cells:
        return ""
    steps = list(dict.fromkeys(re.match(r"[^.]+", cell[1])[0] for cell in cells if len(cell) > 1))  # type: ignore[index]
    parts = list(dict.fromkeys(cell[2].split(".")[0] for cell in cells if len(cell) > 2))
    return ", ".join(
        filter(None, [f"model {cells[0][0]}", f"step {_span(steps)}" if steps else "", _span(parts)])
    )


def _span(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}" if values else ""


def _tail(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    return tuple(lines[-_LOG_LINES:])


def progress_text(progress: Progress, *, command: str) -> str:
    """The state as a table for a terminal, and each failure with what to do.

    Args:
        progress: The state.
        command: What the user types to run the study.
    """
    cells: dict[tuple[str, int], dict[str, list[File]]] = {}
    rest: dict[str, list[File]] = {}
    columns = {stage: name for name, stages in COLUMNS.items() for stage in stages}
    for file in progress.files:
        if file.step is not None and file.stage in columns:
            cells.setdefault((file.model, file.step), {}).setdefault(columns[file.stage], []).append(file)
        else:
            rest.setdefault(file.stage, []).append(file)
    head = ["model", "step", *COLUMNS]
    body = [
        [model, str(step), *(_mark(found.get(column, ())) for column in COLUMNS)]
        for (model, step), found in sorted(cells.items())
    ]
    lines = tabulate(body, head, tablefmt="plain", disable_numparse=True).splitlines()
    lines.append("")
    lines.append("beside: " + ", ".join(f"{stage} {_mark(found)}" for stage, found in rest.items()))
    counts = [f"{progress.count(state)} {state}" for state in (DONE, RUNNING, FAILED, INTERRUPTED, WAITING)
              if progress.count(state) or state == DONE]  # fmt: skip
    lines.append(f"{len(progress.files)} files: {', '.join(counts)}")
    if progress.count(INTERRUPTED):
        lines.append("the last run was cut off: `babelscope recover`, then run the same command again")
    for failure in progress.failures:
        lines += ["", _failure_text(failure, command)]
    return "\n".join(lines)


def _mark(files: Sequence[File]) -> str:
    """``ok``, ``.``, ``3/8``; with what is under way or failed."""
    if not files:
        return ""
    states = [file.state for file in files]
    n_done = states.count(DONE)
    for state, name in ((FAILED, "FAILED"), (INTERRUPTED, "cut"), (RUNNING, "run")):
        if state in states:
            return f"{name} {n_done}/{len(states)}"
    return "ok" if n_done == len(states) else f"{n_done}/{len(states)}" if n_done else "."


def _failure_text(failure: Failure, command: str) -> str:
    where = f" ({failure.cell})" if failure.cell else ""
    slurm = f", Slurm job {failure.slurm_job}" if failure.slurm_job else ""
    lines = [f"FAILED {failure.rule}{where}{slurm}"]
    if failure.lines:
        lines.append(f"  {failure.log}:")
        lines += [f"    {line}" for line in failure.lines]
    elif failure.log:
        lines.append(f"  its log {failure.log} is empty or not there")
    lines.append(f"  run just it:   {command} {failure.output}")
    parts = failure.output.split("/")
    if len(parts) >= 5:
        step = re.match(r"\d+", parts[4])
        if step:
            target = f"{'/'.join(parts[:2])}/export/{parts[3]}/{step[0]}"
            lines.append(f"  for a report:  {command} {target}")
    return "\n".join(lines)


def arguments_of(configfile: Path | None, config: Sequence[str]) -> list[str]:
    """Arguments that name a study to Snakemake."""
    named = ["--configfile", str(configfile)] if configfile else []
    return [*named, *(["--config", *config] if config else [])]
