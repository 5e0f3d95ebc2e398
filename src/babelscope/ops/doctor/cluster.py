"""Does Slurm answer, what do its partitions give, and will it tell how jobs have ended?"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from babelscope.ops.doctor.diagnosis import OK, PROBLEM, WARNING, Diagnosis
from babelscope.ops.programs import call, complaint

_SINFO = "%P|%a|%l|%m|%c|%G"
#: Most that a job can have in a partition, by the names of the plugin's partition file.
Limits = dict[str, float]


def read_partitions(rows: str) -> dict[str, Limits]:
    """What the partitions that are up give, by name, from ``sinfo -h -o '%P|%a|%l|%m|%c|%G'``.

    It has a row for each kind of node that a partition has; a job fits if it fits one.
    """
    found: dict[str, Limits] = {}
    for row in rows.splitlines():
        name, state, time, memory, cores, gres = [value.strip() for value in row.split("|")][:6]
        if state != "up":
            continue
        given = {
            "max_runtime": _minutes(time),
            "max_mem_mb": _whole(memory),
            "max_threads": _whole(cores),
            "max_gpu": _gpus(gres),
        }
        known = found.setdefault(name.removesuffix("*"), {})  # * marks the default
        known.update({key: max(value, known.get(key, 0)) for key, value in given.items()})
    return found


def _whole(text: str) -> int:
    """A number of Slurm's; ``16000+`` stands for several of which this is the least."""
    number = re.match(r"\d+", text)
    return int(number[0]) if number else 0


def _gpus(gres: str) -> int:
    """GPUs of ``gpu:a100:4(S:0-1),mps:400``."""
    counts = re.findall(r"(?:^|,)gpu(?::[^:,(]+(?=:))?(?::(\d+))?(?=[,(]|$)", gres)
    return sum(int(count or 1) for count in counts)


def _minutes(text: str) -> float:
    """Minutes of ``days-hours:minutes:seconds``, from the left as much as is needed; else no limit."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if found is None:
        return math.inf
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 1440 * days + 60 * hours + minutes + seconds / 60


def check_slurm(seconds: float) -> tuple[dict[str, Limits], list[Diagnosis]]:
    """Slurm answers, and tells for long enough how jobs have ended.

    Args:
        seconds: Between two looks of the plugin at the jobs.

    Returns:
        What the partitions that are up give, none if Slurm does not tell; what was found.
    """
    rows = call("sinfo", "-h", "-o", _SINFO)
    if rows.returncode:
        remedy = (
            "module load slurm; scontrol ping   # is the controller up? elsewhere: export SLURM_CONF=/PATH"
        )
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
        yield Diagnosis(
            "squeue", PROBLEM, f"does not work: {complaint(queue)}", "squeue --me   # ask the site"
        )
    age = re.search(r"(?m)^MinJobAge\s*=\s*(\d+)", call("scontrol", "show", "config").stdout)
    if age is None:
        what = "MinJobAge cannot be read: how long ended jobs stay in squeue"
        yield Diagnosis("squeue", WARNING, what, "scontrol show config | grep MinJobAge")
    elif int(age[1]) < 3 * seconds:
        what = (
            f"forgets ended jobs after {age[1]} s (MinJobAge); to look every {seconds:g} s needs thrice that"
        )
        remedy = f"in the profile: slurm-init-seconds-before-status-checks: {max(1, int(age[1]) // 3)}"
        yield Diagnosis("squeue", WARNING, what, remedy)
    if call("sacct", "--noheader", "--format=JobID").returncode not in (0, 127):
        # The plugin asks it all the same when the controller is silent; if it fails, the jobs are forgotten.
        what = "does not work: if the controller does not answer for ten seconds, Snakemake waits for ever"
        remedy = "then stop it, `babelscope recover`, and the same command again"
        yield Diagnosis("sacct", WARNING, what, remedy)
