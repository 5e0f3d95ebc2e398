"""Does Slurm answer and tell how jobs have ended, and does the profile say what its partitions give?"""

from __future__ import annotations

import getpass
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babelscope.errors import DataError
from babelscope.io.yaml import read_mapping
from babelscope.ops.doctor.diagnosis import OK, PROBLEM, WARNING, Diagnosis, Level
from babelscope.ops.programs import call, complaint

#: As the plugin's partition file names what a job can have at most in a partition.
_LIMITS = ("max_runtime", "max_mem_mb", "max_threads", "max_gpu")
Limits = dict[str, float]
DEFAULT_PROFILE = Path("profiles/default/config.yaml")
#: Snakemake takes these from profiles/default before it takes them from --profile.
_NOT_BY_DEFAULT = ("executor", "jobs", "default-resources", "set-resources", "retries")
#: Keys with the one value that works, and what any other comes to.
_MUST_BE: dict[str, tuple[str | bool | None, Level, str]] = {
    "executor": ("slurm", PROBLEM, "jobs would not go to Slurm"),
    "slurm-pass-command-as-script": (True, PROBLEM, "a shell here would run $(...) in the name of a study"),
    "slurm-array-jobs": (None, PROBLEM, "in plugin 2.8.0 a slow first task ends its healthy siblings"),
    "slurm-status-command": ("squeue", WARNING, "by sacct a cancelled job is waited for without end (2.8.0)"),
}
#: ``sinfo`` shows the partitions of this cluster; a profile may describe those of others, by these keys.
_ELSEWHERE = ("slurm_cluster", "cluster", "clusters")


def read_partitions(rows: str) -> dict[str, Limits]:
    """What the partitions that are up give, by name, from ``sinfo -h -o '%P|%a|%l|%m|%c|%G'``.

    It has a row for each kind of node that a partition has; a job fits if it fits one.
    """
    found: dict[str, Limits] = {}
    for row in rows.splitlines():
        name, state, time, memory, cores, gres = [value.strip() for value in row.split("|")][:6]
        if state == "up":
            known = found.setdefault(name.removesuffix("*"), {})  # * marks the default
            given = (_slurm_minutes(time), _whole(memory), _whole(cores), _gpus(gres))
            for key, value in zip(_LIMITS, given, strict=True):
                known[key] = max(value, known.get(key, 0))
    return found


def _whole(text: str) -> int:
    """A number of Slurm's; ``16000+`` stands for several of which this is the least."""
    number = re.match(r"\d+", text)
    return int(number[0]) if number else 0


def _gpus(gres: str) -> int:
    """GPUs of ``gpu:a100:4(S:0-1),mps:400``."""
    counts = re.findall(r"(?:^|,)gpu(?::[^:,(]+(?=:))?(?::(\d+))?(?=[,(]|$)", gres)
    return sum(int(count or 1) for count in counts)


def _slurm_minutes(text: str) -> float:
    """Minutes of ``days-hours:minutes:seconds``, from the left as much as is needed; else no limit."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if found is None:
        return math.inf
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 1440 * days + 60 * hours + minutes + seconds / 60


def check_slurm(seconds: float) -> tuple[dict[str, Limits], list[Diagnosis]]:
    """Slurm answers, and tells for long enough how jobs have ended: the plugin looks every so many seconds.

    Returns:
        What the partitions that are up give, none if Slurm does not tell; what was found.
    """
    rows = call("sinfo", "-h", "-o", "%P|%a|%l|%m|%c|%G")
    if rows.returncode:
        remedy = "module load slurm; scontrol ping   # controller up? elsewhere: export SLURM_CONF=/PATH"
        return {}, [Diagnosis("slurm", PROBLEM, f"does not answer: {complaint(rows)}", remedy)]
    partitions = read_partitions(rows.stdout)
    if not partitions:
        return {}, [Diagnosis("slurm", PROBLEM, "no partition is up", "sinfo -R   # why nodes are down")]
    answers = Diagnosis("slurm", OK, f"answers; {len(partitions)} partitions are up")
    return partitions, [answers, *_check_queue(seconds)]


def _check_queue(seconds: float) -> Iterator[Diagnosis]:
    """Ended jobs stay in squeue until the plugin has looked at them, and squeue is asked alone."""
    queue = call("squeue", "--noheader", "--me", "--format=%i")
    if queue.returncode:
        what = f"does not work: {complaint(queue)}"
        yield Diagnosis("squeue", PROBLEM, what, "squeue --me   # ask the site")
    age = re.search(r"(?m)^MinJobAge\s*=\s*(\d+)", call("scontrol", "show", "config").stdout)
    if age is None:
        what = "MinJobAge cannot be read: how long ended jobs stay in squeue"
        yield Diagnosis("squeue", WARNING, what, "scontrol show config | grep MinJobAge")
    elif int(age[1]) < 3 * seconds:
        looks = f"to look every {seconds:g} s needs thrice that"
        remedy = f"in the profile: slurm-init-seconds-before-status-checks: {max(1, int(age[1]) // 3)}"
        what = f"forgets ended jobs after {age[1]} s (MinJobAge); {looks}"
        yield Diagnosis("squeue", WARNING, what, remedy)
    if call("sacct", "--noheader", "--format=JobID").returncode not in (0, 127):
        # The plugin asks it all the same when the controller is silent; if it fails, the jobs are forgotten.
        what = "does not work: if the controller does not answer for ten seconds, Snakemake waits for ever"
        remedy = "then stop it, `babelscope recover`, and the same command again"
        yield Diagnosis("sacct", WARNING, what, remedy)


@dataclass(frozen=True)
class ClusterProfile:
    """A profile for a cluster.

    Attributes:
        config: Its ``config.yaml``.
        settings: What that holds.
        file: Its partitions.
        described: Limits of each partition of this cluster, as that file has them.
    """

    config: Path
    settings: Mapping[str, Any]
    file: Path
    described: Mapping[str, Mapping[str, Any]]

    def resource(self, group: str, name: str) -> Any:
        """A value of ``resources`` or ``default-resources``; None if it is not there."""
        given = self.settings.get(group)
        return given.get(name) if isinstance(given, dict) else None


def read_profile(name: Path | str) -> ClusterProfile:
    """A profile by what one names it to Snakemake: a folder, or one in Snakemake's own configuration.

    Raises:
        DataError: If one of its files cannot be used.
    """
    own = Path("~/.config/snakemake").expanduser() / name
    config = (own if own.is_dir() and not Path(name).is_dir() else Path(name)) / "config.yaml"
    settings = read_mapping(config, "run this in the checkout: --profile slurm")
    named = settings.get("slurm-partition-config")
    file = config.parent / str(named or "partitions.yaml")
    if not named:
        return ClusterProfile(config, settings, file, {})
    generate = f"generate-slurm-partition-config > {file}"
    described = read_mapping(file, generate).get("partitions")
    if not isinstance(described, dict) or not all(isinstance(limits, dict) for limits in described.values()):
        raise DataError(file, "has no mapping `partitions` of names to limits", generate)
    here = {name: limits for name, limits in described.items() if limits.keys().isdisjoint(_ELSEWHERE)}
    return ClusterProfile(config, settings, file, here)


def check_settings(profile: ClusterProfile) -> Iterator[Diagnosis]:
    """The profile as such, whatever its partitions."""
    config = profile.config
    for key, (right, level, otherwise) in _MUST_BE.items():
        given = profile.settings.get(key)
        if given != right:
            value = str(right).lower() if isinstance(right, bool) else right
            remedy = f"in {config}: {key}: {value}" if right else f"sed -i /^{key}/d {config}"
            yield Diagnosis("profile", level, f"{key} is {given!r}: {otherwise}", remedy)
    default = read_mapping(DEFAULT_PROFILE) if DEFAULT_PROFILE.exists() else {}
    if taken := ", ".join(key for key in _NOT_BY_DEFAULT if key in default):
        what = f"{DEFAULT_PROFILE} sets {taken} and wins over {config.parent}"
        yield Diagnosis("profile", PROBLEM, what, f"move {taken} from there to {config}")
    account = profile.resource("default-resources", "slurm_account")
    known = call("sacctmgr", "-nP", "list", "associations", f"user={getpass.getuser()}", "format=account")
    yours = sorted(set(known.stdout.lower().split())) if not known.returncode else []
    if account and yours and not set(re.split(r"[,\s]+", str(account).lower())) <= set(yours):
        what = f"slurm_account is {account}; you may use: {', '.join(yours)}"
        remedy = f"in {config}, below default-resources: slurm_account: {yours[0]}"
        yield Diagnosis("profile", PROBLEM, what, remedy)


def check_partitions(profile: ClusterProfile, partitions: Mapping[str, Limits]) -> Iterator[Diagnosis]:
    """Partitions as the profile describes them, against those of the cluster that are up."""
    if not profile.described:
        what = "no slurm-partition-config: every job goes to the default partition"
        generate = f"generate-slurm-partition-config > {profile.file}"
        remedy = f"{generate}; in {profile.config}: slurm-partition-config: {profile.file.name}"
        yield Diagnosis("profile", WARNING, what, remedy)
        return
    for name, limits in profile.described.items():
        if name not in partitions:
            what = f"{name} in {profile.file} is no partition that is up; these are: {', '.join(partitions)}"
            remedy = f"sinfo -R -p {name}; generate-slurm-partition-config > {profile.file}"
            yield Diagnosis("profile", PROBLEM, what, remedy)
            continue
        for key, most in partitions[name].items():
            if what := _too_much(key, limits.get(key), most):
                right = "leave it out" if math.isinf(most) else f"{key}: {math.floor(most)}"
                remedy = f"in {profile.file}, below {name}: {right}"
                yield Diagnosis("profile", PROBLEM, f"{name}: {key} is {what}", remedy)
    if not any(limits.get("max_gpu") for limits in profile.described.values()):
        with_gpu = [name for name, limits in partitions.items() if limits["max_gpu"]]
        what = f"no partition in {profile.file} has max_gpu, so jobs that run a model fit none"
        remedy = f"in {profile.file}, below {' or '.join(with_gpu) or 'the one with GPUs'}: max_gpu: 1"
        yield Diagnosis("profile", PROBLEM, what, remedy)


def _too_much(key: str, given: Any, most: float) -> str:
    """Why the plugin would send a partition jobs that it cannot run; empty if it would not."""
    if given is None:
        return ""
    try:
        number = _minutes(str(given)) if key == "max_runtime" else float(given)
    except (TypeError, ValueError):
        return f"{given!r}, no number"
    return f"{number:,.0f}; the cluster gives {most:,.0f}" if number > most else ""


def _minutes(text: str) -> float:
    """Minutes as the plugin reads them: a number, ``2d12h``, ``hours:minutes``, ``days-hours:minutes``.

    So ``24:00`` is a day here, and 24 minutes to Slurm.
    """
    if clock := re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text):
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return float(text) if text.isdigit() else 1440 * days + 60 * hours + minutes + seconds / 60
    units = {"d": 1440.0, "h": 60.0, "m": 1.0, "s": 1 / 60}
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([dhms])", text.lower())
    return sum(float(count) * units[unit] for count, unit in parts) if parts else float(text)
