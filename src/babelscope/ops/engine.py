"""What the workflow needs of Snakemake and Snakemake does not promise, in one place."""

from __future__ import annotations

import copy
import os
import shlex
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babelscope.complaints import nearest
from babelscope.errors import BabelscopeError, StudyError

#: What makes a file out of date, as in profiles/default: its inputs, params and environment, not the script's
#: time, which a clone or an edited comment changes: versions of stages are params and say what moves numbers.
RERUN_TRIGGERS = ("mtime", "params", "input", "software-env")

#: Jobs, and in how many seconds, that Snakemake starts at most if nothing is said (``100/1s``).
_DEFAULT_LIMIT = (100, 1)


class EngineError(BabelscopeError):
    """Snakemake cannot plan the study, or does not know what it is told."""

    section = "snakemake"


@dataclass(frozen=True)
class Engine:
    """How Snakemake was called.

    Attributes:
        on_cluster: Whether jobs run on a cluster; known when jobs are planned, not while rules are read.
        overrides: Rules that ``--set-threads`` and ``--set-resources``, or a profile, name, by option.
    """

    on_cluster: bool
    overrides: dict[str, frozenset[str]]


def with_told(config: Mapping[str, Any], told: Sequence[str]) -> dict[str, Any]:
    """A config with what stands on the command line, as Snakemake reads and merges it.

    It reads numbers at the top level alone, and leaves those inside of a mapping as text.

    Args:
        config: The keys and values of a file.
        told: Values of ``--config``, such as ``data=/where/it/lies``.

    Raises:
        StudyError: If one of them is no key and value.
    """
    if not told:
        return dict(config)
    from snakemake.cli import parse_config  # slow to import, needed seldom
    from snakemake.utils import update_config

    merged = copy.deepcopy(dict(config))
    for each in told:
        try:
            update_config(merged, parse_config([each]))
        except ValueError as error:
            hint = "the key is one of the study's, at its top"
            raise StudyError("--config", each, "KEY=VALUE", hint) from error
    return merged


def stands_alone(config: Mapping[str, Any]) -> bool:
    """Whether what stands on the command line is a study of its own; else it changes the demo."""
    return bool({"study", "extends"} & config.keys())


def laid_over(base: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """A config on top of another one, as Snakemake lays what it is told over the Snakefile's own."""
    from snakemake.utils import update_config

    merged = copy.deepcopy(dict(base))
    update_config(merged, copy.deepcopy(dict(config)))
    return merged


def naming(configfile: Path | None, told: Sequence[str]) -> list[str]:
    """Arguments that name a study, to Snakemake as to ``babelscope``.

    Targets stand before them: ``--configfile`` takes every word that follows for a file.
    """
    named = ["--configfile", str(configfile)] if configfile else []
    return [*named, *(["--config", *told] if told else [])]


def own_snakefile() -> list[str]:
    """Arguments that name the workflow of this checkout; none where Snakemake finds one by itself."""
    there = ("Snakefile", "snakefile", "workflow/Snakefile", "workflow/snakefile")
    own = Path(__file__).resolve().parents[3] / "Snakefile"
    return ["--snakefile", str(own)] if own.is_file() and not any(map(os.path.isfile, there)) else []


def named_study(workflow: Any) -> str:
    """How the study was named on the command line, as a shell takes it; empty for the demo."""
    settings = workflow.config_settings
    files = [file.relative_to(here) if file.is_relative_to(here := Path.cwd()) else file
             for file in settings.configfiles]  # fmt: skip
    return shlex.join(naming(files[-1] if files else None, settings.config_args))


def log_all(workflow: Any) -> None:
    """Have the log file hold all that happens, however quiet the terminal is. For ``onstart``.

    Snakemake leaves out of its log file what ``--quiet`` leaves out of the terminal, failed jobs too, of
    which ``babelscope status`` reads there.
    """
    from snakemake.logging import DefaultFilter

    for handler in workflow.logger_manager.logfile_handlers:
        for each in handler.filters:
            if isinstance(each, DefaultFilter):
                each.quiet = set()


def engine(workflow: Any) -> Engine:
    """Look into Snakemake's workflow object; lift its cap on cores where jobs run on a cluster.

    ``cores`` of profiles/default counts the cores of the machine where the command is typed. Snakemake would
    cap the threads of every job by it, on the node too, while its time limit counts on all it asks for.
    """
    settings = workflow.resource_settings
    if workflow.non_local_exec:
        settings.cores = None
        workflow.global_resources["_cores"] = None
    return Engine(
        on_cluster=workflow.non_local_exec or workflow.remote_exec,  # a job asks too, on its node
        overrides={
            "--set-threads": frozenset(settings.overwrite_threads),
            "--set-resources": frozenset(settings.overwrite_resources),
        },
    )


def lift_timers(workflow: Any) -> None:
    """Have Snakemake look at waiting jobs once when jobs have ended, not each second too. For ``onstart``.

    So that no more than 100 jobs start in a second, its scheduler sets a timer at each turn of its loop, to
    turn it once more; every job that ends turns it too. After n jobs n timers stat all inputs of all waiting
    jobs each second, for good (snakemake#2354, #3804). Without the limit there are none. How many jobs run at
    once is bounded by ``jobs`` and ``cores``, so the limit is lifted if nobody has set it; one that was set
    stays.

    A turn deals with all jobs that have ended until then, yet each of them turns the loop: one turn will do.
    """
    scheduler = workflow.scheduler
    limit = getattr(scheduler, "job_rate_limiter", None)
    if limit is not None and (limit.max_jobs, limit.timespan) == _DEFAULT_LIMIT:
        scheduler.job_rate_limiter = None
    if isinstance(getattr(scheduler, "_open_jobs", None), threading.Semaphore):
        scheduler._open_jobs = _Bell()


class _Bell:
    """A semaphore that counts to one: who waits is woken once, however often it was rung; rung at first."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._rung.set()

    def release(self) -> None:
        """Ring."""
        self._rung.set()

    def acquire(self) -> None:
        """Wait until it is rung, and forget that it was; what rings afterwards is another time."""
        self._rung.wait()
        self._rung.clear()


def check_overrides(found: Engine, rules: Iterable[str]) -> None:
    """Refuse an override for a rule that is not there: Snakemake would pass over it in silence.

    Raises:
        EngineError: Naming the option and the rule.
    """
    known = sorted(rules)
    for option, names in found.overrides.items():
        for name in sorted(names - set(known)):
            hint = nearest(name, known) or "a rule has one name in every study; docs/wildcards.md names them"
            raise EngineError(f"`{option}`: got {name!r}; allowed: a rule: {', '.join(known)}\nhint: {hint}")
