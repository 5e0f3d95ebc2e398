"""Fixtures of the tests that run the real engine: studies that ran to their report, and tests share."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

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


def _run_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], MiniStudy]) -> MiniStudy:
    """A study that the first of the processes that test runs, while the others wait, and all read."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, config = shared / name, shared / f"{name}.json"
    with FileLock(shared / f"{name}.lock"):
        if not config.exists():
            folder.mkdir()  # fails if a run before failed: nobody reads half a study
            study = make(folder)
            study.snakemake()
            config.write_text(json.dumps(study.config))
    return MiniStudy(folder, json.loads(config.read_text()))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> MiniStudy:
    """The study, run to its report. Copy it before you change it."""

    def make(folder: Path) -> MiniStudy:
        write_text(folder, list(WORDS))
        return MiniStudy(folder, mini_config())

    return _run_once(tmp_path_factory, "finished", make)


@pytest.fixture(scope="session")
def local_run(finished: MiniStudy, tmp_path_factory: pytest.TempPathFactory) -> MiniStudy:
    """The study of local folders, run to its report. Copy it before you change it."""
    return _run_once(tmp_path_factory, "local", lambda folder: local_study(finished, folder))


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
