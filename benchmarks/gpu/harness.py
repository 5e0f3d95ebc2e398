"""Parts that run one after the other, each in a process and a time box of its own.

What a part finds goes to a file line by line, so that a part that dies, hangs or runs out of memory keeps
what it had, and takes nothing else with it.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import multiprocessing
import os
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Options:
    """What all parts are told.

    Attributes:
        device: ``cuda`` or ``cpu``.
        small: Whether everything has a size for a CPU.
        threads: Cores of this machine.
        scratch: Folder for checkpoints and activations.
        compiled: Whether numba is there, and the scorer is fast.
        card: Of the device, what the first part found: ``name``, ``memory`` (bytes), ``matmul`` (FLOP/s in
            16 bits, measured) and ``peak`` (of the datasheet; None where it is not known).
    """

    device: str
    small: bool
    threads: int
    scratch: Path
    compiled: bool = True
    card: dict[str, Any] = field(default_factory=dict)


class Skipped(Exception):
    """A part has nothing to do on this machine; says why."""


class Report:
    """What a part finds; written as it is found."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def check(self, name: str, value: float, bound: float, *, at_least: bool = False, note: str = "") -> None:
        """A number that must not pass a bound; a NaN fails."""
        fine = value >= bound if at_least else value <= bound
        self._write("check", name=name, value=value, bound=bound, at_least=at_least, ok=fine, note=note)

    def holds(self, name: str, fine: bool, note: str = "") -> None:
        """Something that must be true."""
        self._write("check", name=name, value=None, bound=None, at_least=False, ok=bool(fine), note=note)

    def figure(self, name: str, value: Any, unit: str = "", note: str = "") -> None:
        """A number that is reported."""
        self._write("figure", name=name, value=value, unit=unit, note=note)

    def detail(self, name: str, value: Any) -> None:
        """Something for the JSON file alone."""
        self._write("detail", name=name, value=value)

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """A step that others do not need: if it breaks, that is a check that failed, and the part goes on."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.holds(f"{name} runs", False, first_line(error))

    def problem(self, kind: str, text: str) -> None:
        """The part did not end well: ``skipped`` or ``failed``."""
        self._write(kind, text=text)

    def _write(self, kind: str, **values: Any) -> None:
        self._file.write(json.dumps({"kind": kind, **values}, default=float) + "\n")
        self._file.flush()


@dataclass(frozen=True)
class Part:
    """A part: its name, its function, and the seconds that it may take on a GPU."""

    name: str
    run: Callable[[Report, Options], None]
    seconds: float


@dataclass
class Outcome:
    """How a part ended, and what it found."""

    part: str
    status: str
    """``done``, ``skipped``, ``failed``, ``out of time`` or ``not run``."""
    seconds: float
    reason: str = ""
    found: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_fine(self) -> bool:
        """Whether no check failed and nothing broke."""
        checks = [line for line in self.found if line["kind"] == "check"]
        return self.status in ("done", "skipped") and all(line["ok"] for line in checks)


def run_part(part: Part, options: Options, *, seconds: float, folder: Path, fresh: bool) -> Outcome:
    """Run a part in another process; kill it after ``seconds``.

    Args:
        part: What to run.
        options: For it.
        seconds: Its time box.
        folder: Receives ``PART.jsonl`` and ``PART.log``.
        fresh: Start an interpreter. By default this process is copied, with what it has imported: that saves
            seconds per part, but needs that nothing here has touched the GPU.
    """
    started = time.monotonic()
    if fresh:
        code = _fresh(part, options, seconds, folder)
    else:
        process = multiprocessing.get_context("fork").Process(target=child, args=(part, options, folder))
        process.start()
        process.join(seconds)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join(10)
    took = time.monotonic() - started
    path = folder / f"{part.name}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found, broken = [], ""
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            broken = "its last line was cut"
    endings = [line for line in found if line["kind"] in ("skipped", "failed")]
    if endings:
        return Outcome(part.name, endings[-1]["kind"], took, endings[-1]["text"], found)
    if code is None:
        return Outcome(part.name, "out of time", took, f"stopped after {seconds:.0f} s", found)
    if code != 0 or broken:
        return Outcome(part.name, "failed", took, broken or f"the process ended with {code}", found)
    return Outcome(part.name, "done", took, found=found)


def _fresh(part: Part, options: Options, seconds: float, folder: Path) -> int | None:
    command = [sys.executable, str(Path(__file__).with_name("run.py")), "--child", part.name, str(folder)]
    given = json.dumps({**asdict(options), "scratch": str(options.scratch)})
    process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
    try:
        process.communicate(given, timeout=seconds)
        return process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
        return None


def child(part: Part, options: Options, folder: Path) -> None:
    """Run a part in this process, which ends with it."""
    log = os.open(folder / f"{part.name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
    faulthandler.enable()
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr, force=True
    )
    logging.getLogger("babelscope").setLevel(logging.INFO)
    report, code = Report(folder / f"{part.name}.jsonl"), 0
    try:
        part.run(report, options)
    except Skipped as reason:
        report.problem("skipped", str(reason))
    except BaseException as error:
        traceback.print_exc()
        report.problem("failed", first_line(error))
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a device that is out of order may hang at the usual end


def first_line(error: BaseException) -> str:
    """What is shown of an error; the log has all of it."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def host_peak() -> int:
    """Largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
