"""Fixtures of the tests on a real Slurm: one cluster for all, and a checkout with a small study."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster_study import ClusterStudy, checkout
from slurm_lab import SlurmLab


@pytest.fixture(scope="session")
def lab() -> Iterator[SlurmLab]:
    """The cluster."""
    missing = SlurmLab.missing()
    if missing:
        pytest.skip(
            f"not installed: {', '.join(missing)} (apt-get install slurmctld slurmd slurm-client munge)"
        )
    with SlurmLab() as lab:
        yield lab


@pytest.fixture(scope="session")
def undisturbed(lab: SlurmLab, tmp_path_factory: pytest.TempPathFactory) -> ClusterStudy:
    """The study, run on the cluster without any fault. Copy it before you change it."""
    study = checkout(tmp_path_factory.mktemp("cluster"), lab)
    study.run()
    return study
