"""Fixtures of the tests that run the real engine: studies that ran to their report, and tests share."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hub_server import HubServer
from mini_study import WORDS, MiniStudy, mini_config, write_text
from series import hub_of, hub_study, local_study


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--renew`` writes the snapshots anew."""
    parser.addoption("--renew", action="store_true", help="write tests/workflow/snapshots anew")


@pytest.fixture
def mini(tmp_path: Path) -> MiniStudy:
    """The study, not run yet."""
    write_text(tmp_path, list(WORDS))
    return MiniStudy(tmp_path, mini_config())


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> MiniStudy:
    """The study, run to its report. Copy it before you change it."""
    folder = tmp_path_factory.mktemp("finished")
    write_text(folder, list(WORDS))
    study = MiniStudy(folder, mini_config())
    study.snakemake()
    return study


@pytest.fixture(scope="session")
def local_run(finished: MiniStudy, tmp_path_factory: pytest.TempPathFactory) -> MiniStudy:
    """The study of local folders, run to its report. Copy it before you change it."""
    study = local_study(finished, tmp_path_factory.mktemp("local"))
    study.snakemake()
    return study


@dataclass
class HubRun:
    """A run on a hub's checkpoints: the study, and requests to the hub while it fetched and afterwards."""

    study: MiniStudy
    fetching: int
    afterwards: int


@pytest.fixture(scope="session")
def hub_run(finished: MiniStudy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubRun]:
    """The study, its checkpoints fetched, then run to its report without network. Copy before a change."""
    study = hub_study(finished, tmp_path_factory.mktemp("hub"))
    with HubServer() as server:
        hub_of(finished, server)
        hub = {"HF_ENDPOINT": server.endpoint}
        study.snakemake("--until", "fetch_checkpoint", environment={**hub, "HF_HUB_OFFLINE": "0"})
        fetching = len(server.requests)
        study.snakemake(environment=hub)
        yield HubRun(study, fetching, len(server.requests) - fetching)
