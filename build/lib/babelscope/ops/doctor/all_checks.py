"""Is this machine or cluster ready for a study? Nothing here changes anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from babelscope.errors import BabelscopeError
from babelscope.ops.doctor.cluster import check_partitions, check_settings, check_slurm, read_profile
from babelscope.ops.doctor.diagnosis import OK, Diagnosis, diagnosis_of
from babelscope.ops.doctor.environment import check_packages, check_torch
from babelscope.ops.doctor.study import check_study
from babelscope.study.config import Study


def diagnose(load: Callable[[], Study], *, profile: Path | str | None = None) -> list[Diagnosis]:
    """All checks, in the order in which they are worth repairing.

    Args:
        load: Loads the study and checks its text; its errors are part of what is found.
        profile: A cluster's profile, as one names it to Snakemake; None for runs on this machine.
    """
    found = [*check_packages(), check_torch(on_cluster=profile is not None)]
    if profile is None:
        return [*found, *check_study(load, concurrent=os.cpu_count() or 1, limit=None)]
    try:
        read = read_profile(profile)
    except BabelscopeError as error:
        return [*found, *check_study(load, concurrent=1, limit=None), diagnosis_of("profile", error)]
    limit = read.resource("resources", "scores_gb")
    jobs = int(read.settings.get("jobs") or 1)
    found += check_study(load, concurrent=jobs, limit=limit * 1e9 if limit else None)
    # The plugin's own default is 40.
    seconds = float(read.settings.get("slurm-init-seconds-before-status-checks") or 40)
    partitions, of_slurm = check_slurm(seconds)
    wrong = [*check_settings(read), *(check_partitions(read, partitions) if partitions else ())]
    what = f"{read.config.parent}, partitions {', '.join(read.described)}"
    return [*found, *of_slurm, *(wrong or [Diagnosis("profile", OK, what)])]
