"""Is this machine, or cluster, ready for a study? Each finding has a remedy that can be pasted."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

from babelscope.errors import BabelscopeError
from babelscope.study import Study

OK, WARNING, PROBLEM = "ok", "warning", "problem"
#: Gigabytes that a study of any size needs, and below which a real one soon stops.
_DISK_LEAST, _DISK_SMALL = 2, 20
#: Keys that profiles/default must leave to a cluster's profile, since it wins key by key.
_NOT_BY_DEFAULT = ("executor", "jobs", "default-resources", "set-resources", "retries")
_PLUGIN = "snakemake-executor-plugin-slurm"


@dataclass(frozen=True)
class Finding:
    """What a check has found.

    Attributes:
        check: What was looked at.
        level: ``ok``, ``warning`` or ``problem``.
        what: The finding.
        remedy: What to do about it; empty if nothing needs to be done.
    """

    check: str
    level: str
    what: str
    remedy: str = ""


def diagnose(
    study: Callable[[], Study], *, profile: Path | None = None, offline: bool = False
) -> list[Finding]:
    """All checks.

    Args:
        study: Loads the study; its errors are findings.
        profile: Folder of a Snakemake profile for a cluster; without one Slurm is not asked for.
        offline: Ask nothing of the network.
    """
    findings = [check_python(), *check_packages(), *check_torch(), *check_disk(Path("results"))]
    loaded: Study | None = None
    try:
        loaded = study()
        n_steps = sum(len(model.steps) for model in loaded.models.values())
        counts = f"{len(loaded.models)} models, {n_steps} checkpoints, {len(loaded.languages)} languages"
        what = f"{loaded.name}: {counts}"
        findings.append(Finding("study", OK, what))
        findings += [Finding("study", WARNING, text) for text in loaded.warnings]
    except BabelscopeError as error:
        what, _, hint = str(error).partition("\nhint: ")
        findings.append(Finding("study", PROBLEM, what, hint))
    findings += check_hub(loaded, offline=offline)
    if profile is None:
        found = "found; --profile slurm checks it" if shutil.which("sinfo") else "not found: local runs only"
        return [*findings, Finding("slurm", OK, found)]
    settings = _profile_settings(profile)
    findings += check_profile(profile, settings)
    slurm = list(check_slurm(settings or {}))
    findings += slurm
    if settings and not any(finding.level == PROBLEM for finding in slurm):
        findings += check_partitions(profile, settings)
    return findings


# ---------------------------------------------------------------------------------- the machine


def check_python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", OK, f"{version}, {sys.executable}")


def check_packages() -> Iterator[Finding]:
    """Dependencies are there, fit, and are those of the lock."""
    remedy = "make env, or: pip install --constraint constraints.txt --editable ."
    wrong, names = [], []
    for text in metadata.requires("babelscope") or ():
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        names.append(needed.name)
        installed = _version(needed.name)
        if installed is None:
            wrong.append(f"{needed.name} is missing")
        elif not needed.specifier.contains(installed, prereleases=True):
            wrong.append(f"{needed.name} {installed} is not {needed.specifier}")
    if wrong:
        yield Finding("packages", PROBLEM, "; ".join(wrong), remedy)
        return
    yield Finding("packages", OK, f"{len(names)} dependencies fit")
    pins = _pins(Path("constraints.txt"))
    differ = [
        f"{name} {_version(name)} instead of {pins[name]}"
        for name in names
        if name in pins and _public(_version(name)) != pins[name]
    ]
    if differ:
        what = f"not the versions of the lock, so numbers may differ: {', '.join(differ)}"
        yield Finding("packages", WARNING, what, remedy)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _public(version: str | None) -> str:
    return (version or "").partition("+")[0]  # 2.13.0+cpu is a build of 2.13.0


def _pins(file: Path) -> dict[str, str]:
    try:
        return dict(re.findall(r"^([\w.-]+)==([\w.]+)", file.read_text(encoding="utf-8"), re.M))
    except OSError:
        return {}


def check_torch() -> Iterator[Finding]:
    """torch, and the GPUs that it sees; in a process of its own, for a broken driver may end it."""
    code = """
import json, torch
n = torch.cuda.device_count() if torch.cuda.is_available() else 0
devices = map(torch.cuda.get_device_properties, range(n))
print(json.dumps([torch.__version__, [[device.name, device.total_memory] for device in devices]]))
"""
    said = ask(sys.executable, "-c", code, timeout=180)
    if said is None:
        yield Finding(
            "torch", PROBLEM, "cannot be imported", f'{sys.executable} -c "import torch" says why; make env'
        )
        return
    version, devices = json.loads(said.splitlines()[-1])
    yield Finding("torch", OK, version)
    listed = ask("nvidia-smi", "--list-gpus")
    if devices:
        names = ", ".join(f"{name} ({memory / 1e9:.0f} GB)" for name, memory in devices)
        yield Finding("gpu", OK, names)
    elif listed and listed.strip():
        what = f"{len(listed.splitlines())} are there, but torch {version} does not see them"
        yield Finding(
            "gpu", PROBLEM, what, "a build of torch for your driver: https://pytorch.org/get-started"
        )
    else:
        yield Finding("gpu", OK, "none here; jobs on this machine use the CPU")


def check_disk(folder: Path) -> Iterator[Finding]:
    """Room, renaming and locks where results go."""
    place = folder
    while not place.exists():
        place = place.absolute().parent
    free = shutil.disk_usage(place).free / 1e9
    remedy = "free some, or link results/ to a larger disk: ln -s /scratch/$USER/results results"
    level = PROBLEM if free < _DISK_LEAST else WARNING if free < _DISK_SMALL else OK
    what = f"{free:,.0f} GB are free in {place.absolute()}"
    yield Finding("disk", level, what, "" if level == OK else remedy)
    probe = place / f".babelscope-doctor-{os.getpid()}"
    try:
        probe.write_text("x")
        with probe.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                what = f"{place.absolute()} has no file locks ({error.strerror}), which HDF5 asks for"
                yield Finding("disk", WARNING, what, "export HDF5_USE_FILE_LOCKING=FALSE")
        probe = probe.rename(probe.with_suffix(".renamed"))
    except OSError as error:
        what = f"cannot write in {place.absolute()}: {error.strerror}"
        yield Finding("disk", PROBLEM, what, f"ls -ld {place.absolute()} shows who may")
    finally:
        probe.unlink(missing_ok=True)


def check_hub(study: Study | None, *, offline: bool) -> Iterator[Finding]:
    """Whether checkpoints can be fetched, if the study has any to fetch."""
    missing = [
        f"{run_id} {step}"
        for run_id, model in (study.models.items() if study else ())
        if model.source == "hub" and study is not None
        for step in model.steps
        if not model.is_random(step) and not study.model_folder(run_id, step).exists()
    ]
    wanted = f"{len(missing)} checkpoints are not fetched yet" if missing else "nothing is to be fetched"
    bad = WARNING if missing else OK
    fetch = "snakemake --until fetch_checkpoint, where there is network" if missing else ""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        yield Finding("hub", bad, f"offline by HF_HUB_OFFLINE; {wanted}", fetch)
        return
    if offline:
        yield Finding("hub", OK, f"not asked (--offline); {wanted}")
        return
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=5).close()
        yield Finding("hub", OK, f"{endpoint} answers; {wanted}")
    except urllib.error.HTTPError:
        yield Finding("hub", OK, f"{endpoint} answers; {wanted}")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        yield Finding("hub", bad, f"{endpoint} does not answer ({reason}); {wanted}", fetch)


# ---------------------------------------------------------------------------------- the cluster


def _profile_settings(profile: Path) -> dict[str, Any] | None:
    for name in ("config.yaml", "profile.yaml"):
        try:
            content = yaml.safe_load((profile / name).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError):
            continue
        return content if isinstance(content, dict) else None
    return None


def check_profile(profile: Path, settings: dict[str, Any] | None) -> Iterator[Finding]:
    """The profile as such, whatever the cluster."""
    if settings is None:
        what = f"{profile} holds no readable config.yaml"
        yield Finding(
            "profile", PROBLEM, what, "run this in the checkout; the profile is slurm, or profiles/slurm"
        )
        return
    if settings.get("executor") != "slurm":
        what = f"its executor is {settings.get('executor')!r}, so jobs would not go to Slurm"
        yield Finding("profile", PROBLEM, what, f"in {profile}/config.yaml: executor: slurm")
    plugin = _version(_PLUGIN)
    if plugin is None:
        yield Finding("profile", PROBLEM, f"{_PLUGIN} is not installed", "make env")
    else:
        yield Finding("profile", OK, f"{profile}, {_PLUGIN} {plugin}")
    if settings.get("slurm-array-jobs"):
        what = "slurm-array-jobs: in plugin 2.8.0 a slow first task ends its healthy siblings"
        yield Finding("profile", PROBLEM, what, f"take it out of {profile}/config.yaml")
    if settings.get("slurm-status-command") != "squeue":
        what = "without slurm-status-command: squeue a cancelled job is waited for without end (plugin 2.8.0)"
        yield Finding("profile", WARNING, what, f"in {profile}/config.yaml: slurm-status-command: squeue")
    default = _profile_settings(Path("profiles/default")) or {}
    taken = [key for key in _NOT_BY_DEFAULT if key in default]
    if taken:
        what = f"profiles/default sets {', '.join(taken)}, and wins over {profile} key by key"
        yield Finding("profile", PROBLEM, what, f"move it to a profile of its own: {', '.join(taken)}")


def check_slurm(settings: dict[str, Any]) -> Iterator[Finding]:
    """The cluster as such: it answers, and remembers ended jobs long enough."""
    if shutil.which("sinfo") is None:
        what = "sinfo is not on PATH"
        yield Finding("slurm", PROBLEM, what, "run this on a login node; maybe: module load slurm")
        return
    version = ask("sinfo", "--version") or "Slurm"
    states = ask("sinfo", "--noheader", "--format=%R|%a")
    if states is None:
        what = "sinfo is there, but no controller answers"
        yield Finding("slurm", PROBLEM, what, "scontrol ping says why; is SLURM_CONF right?")
        return
    if not any(line.endswith("|up") for line in states.splitlines()):
        yield Finding("slurm", PROBLEM, "no partition is up", "sinfo shows their states")
        return
    accounting = "also sacct" if ask("sacct", "--noheader", "-X") is not None else "no accounting database"
    yield Finding("slurm", OK, f"{version.strip()}, status by squeue, {accounting}")
    config = ask("scontrol", "show", "config") or ""
    remembered = re.search(r"^MinJobAge\s*=\s*(\d+)", config, re.M)
    between = int(settings.get("slurm-init-seconds-before-status-checks", 40))
    if remembered and int(remembered[1]) < 3 * between:
        what = (
            f"it forgets ended jobs after {remembered[1]} s (MinJobAge), and the profile looks every "
            f"{between} s: one could be missed"
        )
        remedy = f"slurm-init-seconds-before-status-checks: {int(remembered[1]) // 3}"
        yield Finding("slurm", WARNING, what, remedy)
    file = os.environ.get("SLURM_CONF")
    if file and Path(file).resolve() != Path("/etc/slurm/slurm.conf").resolve():
        shim = shutil.which("srun")
        if shim is None or b"SLURM_CONF" not in Path(shim).read_bytes()[:4096]:
            what = f"SLURM_CONF is {file}, and the plugin's job step drops it: srun in a job may not find it"
            remedy = (
                f"link it to /etc/slurm/slurm.conf, or put first in PATH an srun that sets SLURM_CONF={file}"
            )
            yield Finding("slurm", WARNING, what, remedy)


def check_partitions(profile: Path, settings: dict[str, Any]) -> Iterator[Finding]:
    """Partitions as the profile describes them, against the cluster's."""
    name = settings.get("slurm-partition-config")
    if not name:
        what = "names no slurm-partition-config, so all jobs go to the default partition"
        yield Finding("partitions", WARNING, what, "profiles/slurm/partitions.yaml shows one")
        return
    file = profile / str(name)
    try:
        described = yaml.safe_load(file.read_text(encoding="utf-8"))["partitions"]
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        yield Finding("partitions", PROBLEM, f"{file} describes none: {error}", "profiles/slurm shows how")
        return
    real = _partitions()
    for partition, limits in described.items():
        limits = limits or {}
        if partition not in real:
            what = f"{partition} is in {file}, but the cluster has {', '.join(real)}"
            yield Finding("partitions", PROBLEM, what, f"edit {file}")
            continue
        has = real[partition]
        over = [
            f"{key} {limits[key]:,} is over the cluster's {has[key]:,.0f}"
            for key in ("max_runtime", "max_mem_mb", "max_threads")
            if isinstance(limits.get(key), (int, float)) and limits[key] > has[key]
        ]
        if limits.get("max_gpu") and not has["gpu"]:
            over.append("max_gpu is set, but its nodes have no gres/gpu")
        if over:
            yield Finding("partitions", PROBLEM, f"{partition}: {'; '.join(over)}", f"edit {file}")
        else:
            gpus = ", GPUs" if limits.get("max_gpu") else ""
            yield Finding(
                "partitions",
                OK,
                f"{partition}: {has['max_runtime']:,.0f} min, {has['max_mem_mb']:,.0f} MB{gpus}",
            )
    if not any((limits or {}).get("max_gpu") for limits in described.values()):
        what = f"no partition of {file} has max_gpu, so jobs that run a model find none"
        yield Finding("partitions", PROBLEM, what, f"max_gpu: 1 for one of them in {file}")


def _partitions() -> dict[str, dict[str, float]]:
    """Per partition the largest of its limits; memory and cores are those of its largest node."""
    found: dict[str, dict[str, float]] = {}
    for line in (ask("sinfo", "--noheader", "--format=%R|%l|%m|%c|%G") or "").splitlines():
        name, time, memory, cores, gres = line.split("|")
        entry = found.setdefault(name, {"max_runtime": 0, "max_mem_mb": 0, "max_threads": 0, "gpu": 0})
        entry["max_runtime"] = max(entry["max_runtime"], _minutes(time))
        entry["max_mem_mb"] = max(entry["max_mem_mb"], float(memory.rstrip("+")))
        entry["max_threads"] = max(entry["max_threads"], float(cores.rstrip("+")))
        entry["gpu"] = max(entry["gpu"], float("gpu" in gres))
    return found


def _minutes(text: str) -> float:
    """Minutes of Slurm's ``days-hours:minutes:seconds``."""
    if text in ("infinite", "UNLIMITED", "n/a"):
        return float("inf")
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    seconds = 0
    for part in parts:
        seconds = 60 * seconds + part
    return int(days or 0) * 1440 + seconds / 60


def ask(*command: str, timeout: float = 20) -> str | None:
    """What a program prints; None if it is missing, fails or does not end."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def findings_text(findings: Sequence[Finding]) -> str:
    """The findings as a table, and what they come to."""
    lines = []
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        what = finding.what.replace("\n", "\n" + " " * (width + 11))
        lines.append(f"{finding.level:<7}  {finding.check:<{width}}  {what}")
        if finding.remedy:
            lines.append(f"{'':<7}  {'':<{width}}  remedy: {finding.remedy}")
    levels = [finding.level for finding in findings]
    problems, warnings = levels.count(PROBLEM), levels.count(WARNING)
    counted = [
        f"{n} {word}{'' if n == 1 else 's'}" for n, word in ((problems, PROBLEM), (warnings, WARNING)) if n
    ]
    lines += [
        "",
        "ready" if not counted else ("not ready: " if problems else "ready, with ") + ", ".join(counted),
    ]
    return "\n".join(lines)
