"""Is this machine or cluster ready for a study? Every finding has a remedy, where it can be as a command.

Nothing here changes anything, but for a temporary file where results go. Programs are asked through
:func:`call` alone, with a time limit each: a hanging controller must not hang the doctor.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import yaml

from babelscope.errors import BabelscopeError

if TYPE_CHECKING:
    from babelscope.study.config import Study

Level = Literal["ok", "warning", "problem"]
OK: Final = "ok"
WARNING: Final = "warning"
PROBLEM: Final = "problem"

#: Of the checkout that the package is installed from (editable).
CONSTRAINTS = Path(__file__).resolve().parents[3] / "constraints.txt"
#: Where Slurm's programs look if nobody tells them.
SYSTEM_CONF = Path("/etc/slurm/slurm.conf")
DEFAULT_PROFILE = Path("profiles/default/config.yaml")
#: Gigabytes without which nothing runs, and below which a study of real models soon stops.
LEAST_GB, LITTLE_GB = 2.0, 20.0

_PLUGIN = "snakemake-executor-plugin-slurm"
_INSTALL = "make env   # without make: pip install -c constraints.txt -e ."
_CUDA_INDEX = "https://download.pytorch.org/whl/cu126"
#: Snakemake takes these from profiles/default before it takes them from --profile.
_NOT_BY_DEFAULT = ("executor", "jobs", "default-resources", "set-resources", "retries")
#: States of nodes that take no job until a person repairs them.
_AWAY = ("down", "drain", "fail", "error", "unknown", "inval")

_TORCH = """
import json, torch
gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
gpus = [torch.cuda.get_device_properties(gpu) for gpu in gpus]
gpus = [[gpu.name, gpu.total_memory] for gpu in gpus]
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus}))
"""


@dataclass(frozen=True)
class Finding:
    """What a check has found.

    Attributes:
        check: What was looked at.
        level: ``ok``, ``warning`` (a run may go wrong or be slow) or ``problem`` (it will go wrong).
        what: What was found.
        remedy: What to do about it; empty if nothing need be done.
    """

    check: str
    level: Level
    what: str
    remedy: str = ""


def diagnose(
    study: Callable[[], Study], *, profile: Path | str | None = None, offline: bool = False
) -> list[Finding]:
    """All checks, in the order in which they are worth repairing.

    Args:
        study: Loads the study and checks its text; its errors become findings.
        profile: A cluster's profile, as one names it to Snakemake; None for runs on this machine.
        offline: Do not ask the hub.
    """
    findings = [check_python(), *check_packages(), *check_torch(on_cluster=profile is not None)]
    findings += [*check_disk(Path("results")), check_files(Path("results"))]
    loaded, of_study = check_study(study)
    findings += [*of_study, *check_hub(loaded, offline=offline)]
    if profile is None:
        return [*findings, *check_slurm(None)[0]]
    read, of_reading = read_profile(profile)
    of_slurm, partitions = check_slurm(read)
    of_profile = [*of_reading, *check_settings(read), *check_partitions(read, partitions)]
    if not of_profile:
        what = f"{read.folder}, plugin {_version(_PLUGIN)}, partitions {', '.join(map(str, read.described))}"
        of_profile = [Finding("profile", OK, what)]
    return [*findings, *of_slurm, *of_profile]


def findings_text(findings: Sequence[Finding]) -> str:
    """The findings as a table, and what they come to."""
    width = max((len(finding.check) for finding in findings), default=0)
    indent = "\n" + " " * (len(PROBLEM) + width + 3)
    lines = []
    for finding in findings:
        text = f"{finding.what}\nremedy: {finding.remedy}" if finding.remedy else finding.what
        text = text.replace("\n", indent)
        lines.append(f"{finding.level:<{len(PROBLEM)}} {finding.check:<{width}}  {text}")
    levels = [finding.level for finding in findings]
    problems, warnings = levels.count(PROBLEM), levels.count(WARNING)
    if problems:
        summary = f"{_counted(problems, PROBLEM)}, {_counted(warnings, WARNING)}"
    else:
        summary = f"ready, {_counted(warnings, WARNING)}" if warnings else "ready"
    return "\n".join([*lines, "", summary])


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def call(*command: str, timeout: float = 10, without: str = "") -> subprocess.CompletedProcess[str] | None:
    """Run a program.

    Args:
        command: The program and its arguments.
        timeout: Seconds; a program that takes longer has the return code 124, as with ``timeout``.
        without: A variable that it shall not find in its environment.

    Returns:
        How it ended; None if it is not there.
    """
    environment = {name: value for name, value in os.environ.items() if name != without}
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer within {timeout:g} s")
    except OSError:
        return None


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of what a program that failed has said: the first ones are often its libraries'."""
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit status {done.returncode}"


# ------------------------------------------------------------------------------------ software


def check_python(running: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    """Python is new enough."""
    version = ".".join(map(str, running))
    if running >= (3, 11):
        return Finding("python", OK, version)
    remedy = "rm -rf .venv; make env PYTHON=python3.11   # any later one will do"
    return Finding("python", PROBLEM, f"{version}; babelscope needs 3.11 or later", remedy)


def check_packages() -> Iterator[Finding]:
    """What babelscope depends on is installed, fits, and is what the results were tested with."""
    try:
        from packaging.requirements import Requirement

        needed = [Requirement(text) for text in metadata.requires("babelscope") or ()]
    except (ImportError, metadata.PackageNotFoundError) as error:
        yield Finding("packages", PROBLEM, f"the environment is not whole: {error}", _INSTALL)
        return
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    unfit = []
    for one in needed:
        installed = _version(one.name)
        if installed is None:
            unfit.append(f"{one.name} is missing")
        elif not one.specifier.contains(installed, prereleases=True):
            unfit.append(f"{one.name} is {installed}, not {one.specifier}")
    if unfit:
        yield Finding("packages", PROBLEM, "; ".join(unfit), _INSTALL)
    else:
        yield Finding("packages", OK, f"{len(needed)} dependencies are installed")
    differing = list(_differing(CONSTRAINTS))
    if differing:
        shown = ", ".join(differing[:8]) + (f" and {len(differing) - 8} more" if differing[8:] else "")
        what = f"not the versions of {CONSTRAINTS.name}, so results may differ: {shown}"
        yield Finding("packages", WARNING, what, _INSTALL)


def _differing(constraints: Path) -> Iterator[str]:
    """Installed packages whose version is not the pinned one; 2.9.0+cu128 is a build of 2.9.0."""
    text = constraints.read_text(encoding="utf-8") if constraints.is_file() else ""
    for name, pinned in re.findall(r"^([\w.-]+)==([^\s;#]+)", text, re.MULTILINE):
        installed = _version(name)
        if installed is not None and pinned not in (installed, installed.partition("+")[0]):
            yield f"{name} {installed} instead of {pinned}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_torch(*, on_cluster: bool = False) -> Iterator[Finding]:
    """What torch and its GPUs are, asked in another process: it takes seconds, and a driver can end it.

    Args:
        on_cluster: Whether jobs go to other machines, with GPUs that this one may not have.
    """
    done = call(sys.executable, "-c", _TORCH, timeout=120)
    if done is None or done.returncode:
        said = _complaint(done) if done else f"{sys.executable} cannot be run"
        yield Finding("torch", PROBLEM, f"cannot be imported: {said}", _INSTALL)
        return
    found = json.loads(done.stdout.splitlines()[-1])
    build = f"for CUDA {found['cuda']}" if found["cuda"] else "a build for CPUs"
    with_cuda = (
        f"pip install --force-reinstall torch=={found['version'].partition('+')[0]} --index-url {_CUDA_INDEX}"
    )
    if on_cluster and not found["cuda"]:
        # Such jobs do not fail: they leave the GPU idle until their time is over.
        what = f"{found['version']}, {build}: jobs on nodes with GPUs would not use them"
        yield Finding("torch", WARNING, what, with_cuda)
    else:
        yield Finding("torch", OK, f"{found['version']}, {build}")
    yield _gpu_finding(found, with_cuda)


def _gpu_finding(found: Mapping[str, Any], with_cuda: str) -> Finding:
    if found["gpus"]:
        return Finding("gpu", OK, ", ".join(f"{name}, {size / 1e9:.0f} GB" for name, size in found["gpus"]))
    listed = call("nvidia-smi", "--list-gpus")
    if listed is None:
        return Finding("gpu", OK, "no GPU here; jobs on this machine use the CPU")
    n = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    if listed.returncode or not n:  # a login node with the driver's programs, or a driver that is broken
        what = f"nvidia-smi is here but shows no GPU ({_complaint(listed)}); jobs on this machine use the CPU"
        return Finding("gpu", WARNING, what, "if this machine has a GPU, nvidia-smi says what is wrong")
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        what = f"{_counted(n, 'GPU')} hidden by CUDA_VISIBLE_DEVICES"
        return Finding("gpu", WARNING, what, "unset CUDA_VISIBLE_DEVICES")
    if not found["cuda"]:
        what = f"{_counted(n, 'GPU')} here, but torch {found['version']} is a build for CPUs"
        return Finding("gpu", PROBLEM, what, with_cuda)
    cuda = found["cuda"]
    what = f"{_counted(n, 'GPU')} here, but torch cannot use it: is the driver too old for CUDA {cuda}?"
    remedy = f"nvidia-smi   # its CUDA version; below {cuda}: update the driver, or {with_cuda}"
    return Finding("gpu", PROBLEM, what, remedy)


# ---------------------------------------------------------------------------------------- disk


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())


def check_disk(folder: Path) -> Iterator[Finding]:
    """There is room where results go."""
    if folder.is_symlink() and not folder.exists():
        target = folder.resolve()
        what = f"{folder} is a link to {target}, which is not there"
        yield Finding("disk", PROBLEM, what, f"mkdir -p {target}")
        return
    place = _existing(folder)
    free = shutil.disk_usage(place).free / 1e9
    what = f"{free:,.1f} GB free in {place}"
    if free >= LITTLE_GB:
        yield Finding("disk", OK, what)
        return
    large = f"/LARGE/DISK/{folder.name}"
    move = f"mv {folder} {large}" if folder.exists() else f"mkdir -p {large}"
    remedy = f"{move} && ln -s {large} {folder}   # `babelscope plan` says what a study takes"
    yield Finding("disk", PROBLEM if free < LEAST_GB else WARNING, what, remedy)


def check_files(folder: Path) -> Finding:
    """Files can be made, renamed and locked where results go."""
    place = _existing(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".babelscope-doctor-", dir=place) as scratch:
            unfinished, whole = Path(scratch, "unfinished"), Path(scratch, "whole")
            unfinished.write_bytes(b"whole")
            whole.write_bytes(b"earlier")
            os.replace(unfinished, whole)
            return _lock_finding(whole, place)
    except OSError as error:
        remedy = f"ls -ld {place}; mount | grep '[(,]ro[,)]'   # who may write there, and what is read-only"
        return Finding("files", PROBLEM, f"{place} cannot hold results: {error.strerror}", remedy)


def _lock_finding(file: Path, place: Path) -> Finding:
    try:
        with file.open("r+b") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        what = f"{place} has no file locks ({error.strerror})"
        if os.environ.get("HDF5_USE_FILE_LOCKING", "").upper() in ("FALSE", "0", "BEST_EFFORT"):
            return Finding("files", OK, f"{what}; HDF5 is told to do without")
        return Finding("files", WARNING, f"{what}; HDF5 asks for them", "export HDF5_USE_FILE_LOCKING=FALSE")
    return Finding("files", OK, "can be made, renamed and locked")


# --------------------------------------------------------------------------------------- study


def check_study(load: Callable[[], Study]) -> tuple[Study | None, list[Finding]]:
    """The study is valid, and the text that it names is there."""
    try:
        study = load()
    except BabelscopeError as error:
        what, _, hint = str(error).partition("\nhint: ")
        return None, [Finding("study", PROBLEM, what, hint or "config/README.md describes every key")]
    except ImportError as error:  # of a package that the findings above name
        return None, [Finding("study", PROBLEM, f"cannot be loaded: {error}", _INSTALL)]
    n_steps = sum(len(model.steps) for model in study.models.values())
    parts = {"model": len(study.models), "step": n_steps, "language": len(study.languages)}
    counts = ", ".join(_counted(n, noun) for noun, n in parts.items())
    warnings = [Finding("study", WARNING, text) for text in study.warnings]
    return study, [Finding("study", OK, f"{study.name}: {counts}"), *warnings]


def check_hub(study: Study | None, *, offline: bool = False) -> Iterator[Finding]:
    """What the study still needs from the hub can be fetched."""
    n_missing = _n_not_fetched(study) if study else 0
    needs = f"{_counted(n_missing, 'checkpoint')} not fetched yet" if n_missing else "nothing to fetch"
    needs = needs if study else "what the study needs of it is not known"
    fetch = "snakemake --cores 1 --until fetch_checkpoint   # where there is network, with your --configfile"
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        what = f"offline by HF_HUB_OFFLINE; {needs}"
        remedy = f"unset HF_HUB_OFFLINE; {fetch}"
        yield Finding("hub", WARNING, what, remedy) if n_missing else Finding("hub", OK, what)
    elif offline:
        yield Finding("hub", OK, f"not asked (--offline); {needs}")
    elif (trouble := _unreachable(endpoint)) is None:
        yield Finding("hub", OK, f"{endpoint} is reachable; {needs}")
    elif study and not n_missing and all(corpus.source != "dataset" for corpus in study.corpora.values()):
        yield Finding("hub", OK, f"{endpoint} is not reachable; {needs}")
    else:
        what = f"{endpoint} is not reachable ({trouble}); {needs}"
        yield Finding("hub", WARNING, what, f"{fetch}, or a mirror: export HF_ENDPOINT=https://MIRROR")
    token = "there is one" if _has_token() else "none; public repositories need none"
    yield Finding("token", OK, token)


def _n_not_fetched(study: Study) -> int:
    hub_models = [model for model in study.models.values() if model.source == "hub"]
    return sum(
        not model.is_random(step) and not study.model_folder(model.run_id, step).is_dir()
        for model in hub_models
        for step in model.steps
    )


def _unreachable(endpoint: str) -> str | None:
    """Why an address does not answer; None if it does, be it with a refusal."""
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        urllib.request.urlopen(request, timeout=5).close()
    except urllib.error.HTTPError as error:
        # 407 is a proxy on the way, 5xx a gateway: neither is the hub.
        return str(error) if error.code == 407 or error.code >= 500 else None
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return None


def _has_token() -> bool:
    if os.environ.get("HF_TOKEN"):
        return True
    try:
        from huggingface_hub import get_token
    except ImportError:
        return False
    return get_token() is not None


# --------------------------------------------------------------------------------------- slurm


@dataclass(frozen=True)
class Partition:
    """A partition as ``sinfo`` shows it.

    Attributes:
        is_up: Whether it takes jobs and has a node that runs them.
        minutes: Time limit.
        memory_mb: Memory of its largest node.
        cores: Cores of its largest node.
        gpus: GPUs of the node with most.
        nodes: Nodes in each state.
    """

    name: str
    is_up: bool
    minutes: float
    memory_mb: int
    cores: int
    gpus: int
    nodes: Mapping[str, int]

    def __str__(self) -> str:
        limit = "no time limit" if math.isinf(self.minutes) else f"{self.minutes:,.0f} minutes"
        gpus = _counted(self.gpus, "GPU") if self.gpus else "no GPU"
        nodes = ", ".join(f"{n} {state}" for state, n in self.nodes.items()) or "none"
        cores = _counted(self.cores, "core")
        return f"{limit}; per node {self.memory_mb:,} MB, {cores}, {gpus}; nodes: {nodes}"


@dataclass(frozen=True)
class ClusterProfile:
    """A profile for a cluster.

    Attributes:
        folder: Where it lies.
        settings: Its ``config.yaml``.
        file: Its partitions, if it names a file of them.
        described: Limits of each partition, as that file has them.
    """

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None
    described: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"


_SINFO = "%P|%a|%l|%m|%c|%G|%D|%T"


def read_partitions(rows: str) -> dict[str, Partition]:
    """Partitions by name, from what ``sinfo -h -o '%P|%a|%l|%m|%c|%G|%D|%T'`` prints.

    It has a row for each kind of node and state of nodes that a partition has.
    """
    by_name: dict[str, list[list[str]]] = {}
    for row in rows.splitlines():
        values = [value.strip() for value in row.split("|")]
        if len(values) == 8:
            by_name.setdefault(values[0].removesuffix("*"), []).append(values)  # * marks the default
    return {name: _partition(name, of_name) for name, of_name in by_name.items()}


def _partition(name: str, rows: Sequence[Sequence[str]]) -> Partition:
    nodes: dict[str, int] = {}
    for *_, n, state in rows:
        if _whole(n):
            nodes[state] = nodes.get(state, 0) + _whole(n)
    # A star behind the state: the node does not respond.
    works = any(not state.startswith(_AWAY) and not state.endswith("*") for state in nodes)
    return Partition(
        name=name,
        is_up=works and rows[0][1] == "up",
        minutes=_minutes_of_slurm(rows[0][2]),
        memory_mb=max(_whole(row[3]) for row in rows),
        cores=max(_whole(row[4]) for row in rows),
        gpus=max(_gpus(row[5]) for row in rows),
        nodes=nodes,
    )


def _whole(text: str) -> int:
    """A number of sinfo; ``16000+`` stands for several of which this is the least."""
    number = re.match(r"\d+", text)
    return int(number[0]) if number else 0


def _gpus(gres: str) -> int:
    """GPUs of ``gpu:a100:4(S:0-1),mps:400``."""
    counts = re.findall(r"(?:^|,)gpu(?::[^:,(]+(?=:))?(?::(\d+))?(?=[,(]|$)", gres)
    return sum(int(count or 1) for count in counts)


def _minutes_of_slurm(text: str) -> float:
    """Minutes of ``days-hours:minutes:seconds``, from the left as much as is needed."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if found is None:
        return math.inf
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 1440 * days + 60 * hours + minutes + seconds / 60


def check_slurm(profile: ClusterProfile | None) -> tuple[list[Finding], dict[str, Partition] | None]:
    """Slurm answers and can run jobs.

    Args:
        profile: What jobs are sent with; None if they run here, so that Slurm need not be there.

    Returns:
        The findings; the partitions, None if Slurm does not tell them.
    """
    serious: Level = WARNING if profile is None else PROBLEM
    version = call("sinfo", "--version")
    if version is None and profile is None:
        return [Finding("slurm", OK, "not found; local runs only")], None
    rows = call("sinfo", "-h", "-o", _SINFO)
    if version is None or rows is None:
        remedy = "module load slurm   # or run this on a login node; without Slurm: snakemake --cores all"
        return [Finding("slurm", serious, "sinfo is not on PATH", remedy)], None
    failed = next((done for done in (version, rows) if done.returncode), None)
    if failed is not None:
        remedy = "scontrol ping   # is the controller up? elsewhere: export SLURM_CONF=/PATH/TO/slurm.conf"
        return [Finding("slurm", serious, f"does not answer: {_complaint(failed)}", remedy)], None
    partitions = read_partitions(rows.stdout)
    config = _config()
    return [
        Finding("slurm", OK, version.stdout.strip()),
        *_partition_findings(partitions, profile, serious),
        *_queue_findings(serious),
        *(_memory_findings(config, profile) if profile else ()),
        *_conf_findings(config),
    ], partitions


def _partition_findings(
    partitions: Mapping[str, Partition], profile: ClusterProfile | None, serious: Level
) -> Iterator[Finding]:
    if not any(partition.is_up for partition in partitions.values()):
        yield Finding("partitions", serious, "none is up", "sinfo -R   # why nodes are down; ask the site")
    # A large cluster has many that nobody here uses.
    named = [name for name in partitions if profile is None or name in profile.described]
    for name in named:
        partition = partitions[name]
        if partition.is_up:
            yield Finding("partition", OK, f"{name}: {partition}")
        else:
            yield Finding("partition", WARNING, f"{name} is not up: {partition}", f"sinfo -R -p {name}")
    if len(named) < len(partitions):
        yield Finding("partitions", OK, f"{len(partitions) - len(named)} that the profile does not name")
    if partitions and not any(partition.gpus for partition in partitions.values()):
        what = "none has a GPU (gres), which jobs that run a model ask for"
        remedy = "scontrol show node | grep -i gres   # if nodes have GPUs, the site must set GresTypes=gpu"
        yield Finding("partitions", WARNING, what, remedy)


def _queue_findings(serious: Level) -> Iterator[Finding]:
    queue = call("squeue", "--noheader", "--me", "--format=%i")
    if queue is None or queue.returncode:
        said = _complaint(queue) if queue else "it is not on PATH"
        remedy = "squeue --me   # run it by hand; ask the site"
        yield Finding("squeue", serious, f"does not work: {said}", remedy)
    else:
        yield Finding("squeue", OK, f"works; {_counted(len(queue.stdout.split()), 'job')} of yours")
    accounting = call("sacct", "--noheader", "--format=JobID")
    if accounting is None:
        yield Finding("sacct", OK, "not there; not needed: status by squeue")
    elif accounting.returncode:
        # The plugin asks it all the same when the controller is silent; if it fails, the jobs are forgotten.
        what = "does not work: if the controller does not answer for ten seconds, Snakemake waits for ever"
        remedy = "then stop it, `babelscope recover`, and the same command again"
        yield Finding("sacct", WARNING, what, remedy)
    else:
        yield Finding("sacct", OK, "works")


def _config(*, without: str = "") -> dict[str, str]:
    """The controller's configuration; empty if it does not tell."""
    done = call("scontrol", "show", "config", without=without)
    if done is None or done.returncode:
        return {}
    return dict(re.findall(r"^(\S+)\s*=\s*(.*?)\s*$", done.stdout, re.MULTILINE))


def _memory_findings(config: Mapping[str, str], profile: ClusterProfile) -> Iterator[Finding]:
    """Ended jobs stay in squeue until the plugin has looked at them."""
    key = "slurm-init-seconds-before-status-checks"
    between = _number(profile.settings.get(key)) or 40  # the plugin's own default
    age = _whole(config.get("MinJobAge", ""))
    if not age:
        remedy = "scontrol show config | grep MinJobAge"
        yield Finding("MinJobAge", WARNING, "cannot be read: how long ended jobs stay in squeue", remedy)
    elif age < 3 * between:
        what = f"squeue forgets ended jobs after {age} s; looks every {between:g} s need {3 * between:g} s"
        yield Finding("MinJobAge", WARNING, what, f"in {profile.config}: {key}: {max(1, age // 3)}")
    else:
        yield Finding("MinJobAge", OK, f"{age} s, looks every {between:g} s")


def _conf_findings(config: Mapping[str, str]) -> Iterator[Finding]:
    """Jobs find the cluster too, though the plugin's job step takes SLURM_CONF out of its environment."""
    given = os.environ.get("SLURM_CONF")
    if not given or _is_same(Path(given), SYSTEM_CONF):
        return
    keys = ("ClusterName", "SlurmctldHost[0]", "SlurmctldPort")
    bare = _config(without="SLURM_CONF")
    if _wraps(shutil.which("srun")):
        yield Finding("SLURM_CONF", OK, f"{given}, also by the srun that is first in PATH")
    elif bare and all(bare.get(key) == config.get(key) for key in keys):
        yield Finding("SLURM_CONF", OK, f"{given}; the cluster is found without it, too")
    else:
        what = f"{given} is not {SYSTEM_CONF}: the plugin's job step drops the variable, so its srun fails"
        srun = shutil.which("srun") or "/usr/bin/srun"
        wrapper = rf"""printf '#!/bin/sh\nSLURM_CONF={given} exec {srun} "$@"\n' > ~/bin/srun"""
        remedy = (
            f"sudo ln -s {given} {SYSTEM_CONF}   # on every node; or, as any user:\n"
            f'mkdir -p ~/bin && {wrapper} && chmod +x ~/bin/srun && export PATH="$HOME/bin:$PATH"'
        )
        yield Finding("SLURM_CONF", WARNING, what, remedy)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other) or one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _wraps(program: str | None) -> bool:
    """Whether a program is a script that sets SLURM_CONF."""
    if program is None:
        return False
    with Path(program).open("rb") as file:
        start = file.read(4096)
    return start.startswith(b"#!") and b"SLURM_CONF=" in start


# ------------------------------------------------------------------------------------- profile


def read_profile(name: Path | str) -> tuple[ClusterProfile, list[Finding]]:
    """A profile by what one names it to Snakemake: a folder, or one in Snakemake's own configuration.

    Returns:
        The profile, as far as it can be read; what is wrong with its files.
    """
    own = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "snakemake")
    places = [Path(name), own / name, Path("/etc/xdg/snakemake") / name]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        beside = Path("profiles") / name
        remedy = f"--profile {beside}" if beside.is_dir() else "run this in the checkout: --profile slurm"
        return ClusterProfile(Path(name)), [Finding("profile", PROBLEM, f"there is no folder {name}", remedy)]
    settings, trouble = _read_mapping(folder / "config.yaml")
    if trouble:
        remedy = f"cp profiles/slurm/*.yaml {folder}/"
        return ClusterProfile(folder), [Finding("profile", PROBLEM, trouble, remedy)]
    named = settings.get("slurm-partition-config") or os.environ.get("SNAKEMAKE_SLURM_PARTITIONS")
    if not named:
        what = "names no slurm-partition-config: every job goes to the default partition"
        remedy = f"in {folder}/config.yaml: slurm-partition-config: partitions.yaml; then {_generate(folder)}"
        return ClusterProfile(folder, settings), [Finding("profile", WARNING, what, remedy)]
    file = Path(os.path.expanduser(os.path.expandvars(str(named))))
    file = folder / file if (folder / file).exists() or not file.exists() else file
    content, trouble = _read_mapping(file)
    described = content.get("partitions")
    if not trouble and not isinstance(described, dict):
        trouble = f"{file} has no mapping `partitions`"
    if trouble:
        finding = Finding("profile", PROBLEM, trouble, _generate(folder, file))
        return ClusterProfile(folder, settings, file), [finding]
    return ClusterProfile(folder, settings, file, described or {}), []


def _generate(folder: Path, file: Path | None = None) -> str:
    return f"generate-slurm-partition-config > {file or folder / 'partitions.yaml'}"


def _read_mapping(file: Path) -> tuple[dict[str, Any], str]:
    """The keys and values of a YAML file; what is wrong with it."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        return {}, f"{file} cannot be read: {error.strerror}"
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return {}, f"{file} is no YAML: {error}"
    return (content, "") if isinstance(content, dict) else ({}, f"{file} holds no keys and values")


def check_settings(profile: ClusterProfile) -> Iterator[Finding]:
    """The profile as such, whatever the cluster."""
    settings, config = profile.settings, profile.config
    if _version(_PLUGIN) is None:
        remedy = f"pip install -c constraints.txt {_PLUGIN}"
        yield Finding("profile", PROBLEM, f"{_PLUGIN} is not installed", remedy)
    if settings and settings.get("executor") != "slurm":
        what = f"its executor is {settings.get('executor')!r}, so jobs would not go to Slurm"
        yield Finding("profile", PROBLEM, what, f"in {config}: executor: slurm")
    if settings.get("slurm-array-jobs"):
        what = "sets slurm-array-jobs: in plugin 2.8.0 a slow first task ends its healthy siblings"
        yield Finding("profile", PROBLEM, what, f"sed -i /^slurm-array-jobs/d {config}")
    if settings and settings.get("slurm-status-command") != "squeue":
        what = "status is not by squeue: by sacct a cancelled job is waited for without end (plugin 2.8.0)"
        yield Finding("profile", WARNING, what, f"in {config}: slurm-status-command: squeue")
    # Without the file, nothing is overridden.
    taken = [key for key in _NOT_BY_DEFAULT if key in _read_mapping(DEFAULT_PROFILE)[0]]
    if taken:
        what = f"{DEFAULT_PROFILE} sets {', '.join(taken)} and wins over {profile.folder}"
        yield Finding("profile", PROBLEM, what, f"move {', '.join(taken)} from there to {config}")


def check_partitions(
    profile: ClusterProfile, partitions: Mapping[str, Partition] | None
) -> Iterator[Finding]:
    """Partitions as the profile describes them, against those of the cluster.

    Args:
        profile: The profile.
        partitions: Those of the cluster; None if it does not answer.
    """
    # sinfo shows the partitions of this cluster only.
    other = ("slurm_cluster", "cluster", "clusters")
    described = {
        name: limits
        for name, limits in profile.described.items()
        if not isinstance(limits, dict) or not any(key in limits for key in other)
    }
    for name, limits in described.items():
        if not isinstance(limits, dict):
            what = f"{name} in {profile.file} is {limits!r}, no mapping"
            yield Finding("profile", PROBLEM, what, f"in {profile.file}: {name}: {{max_runtime: 60}}")
        elif partitions is not None and name not in partitions:
            what = f"{name} in {profile.file} is no partition here; there are: {', '.join(partitions)}"
            yield Finding("profile", PROBLEM, what, _generate(profile.folder, profile.file))
        elif partitions is not None:
            yield from _limit_findings(profile, limits, partitions[name])
    if profile.described and not any(_number(_limit(limits)) for limits in profile.described.values()):
        what = f"no partition in {profile.file} has max_gpu, so jobs that run a model fit none"
        with_gpu = [name for name, partition in (partitions or {}).items() if partition.gpus]
        remedy = f"in {profile.file}, below {' or '.join(with_gpu) or 'the one with GPUs'}: max_gpu: 1"
        yield Finding("profile", PROBLEM, what, remedy)


def _limit(limits: Any) -> Any:
    return limits.get("max_gpu") if isinstance(limits, dict) else None


def _limit_findings(
    profile: ClusterProfile, limits: Mapping[str, Any], partition: Partition
) -> Iterator[Finding]:
    """Limits by which the plugin would send a partition jobs that it cannot run."""
    most = {
        "max_runtime": partition.minutes,
        "max_mem_mb": partition.memory_mb,
        "max_threads": partition.cores,
    }
    where = f"in {profile.file}, below {partition.name}:"
    for key, available in most.items():
        if limits.get(key) is None:
            continue
        given = _minutes_given(limits[key]) if key == "max_runtime" else _number(limits[key])
        if given is None:
            what = f"{partition.name}: {key} is {limits[key]!r}, no number"
        elif given > available:
            what = f"{partition.name}: {key} is {given:,.0f}; the cluster gives {available:,.0f}"
        else:
            continue
        set_it = "leave it out" if math.isinf(available) else f"{key}: {math.floor(available)}"
        yield Finding("profile", PROBLEM, what, f"{where} {set_it}")
    if _number(_limit(limits)) and not partition.gpus:
        what = f"{partition.name}: has max_gpu, but its nodes have no GPU (gres)"
        yield Finding("profile", PROBLEM, what, f"{where} max_gpu: 0")


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _minutes_given(value: Any) -> float | None:
    """Minutes as the plugin reads them: a number, ``2d12h30m``, ``hours:minutes``, ``days-hours:minutes``.

    So ``24:00`` is a day here, and 24 minutes where Slurm writes it.
    """
    number = _number(value)
    if number is not None:
        return number
    text = str(value).strip()
    clock = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if clock:
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return 1440 * days + 60 * hours + minutes + seconds / 60
    units = {"d": 1440.0, "h": 60.0, "m": 1.0, "s": 1 / 60}
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([dhms])", text.lower())
    return sum(float(count) * units[unit] for count, unit in parts) if parts else None
