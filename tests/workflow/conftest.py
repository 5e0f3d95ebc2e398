"""Fixtures of the tests that run the real engine."""

from pathlib import Path

import pytest

from mini_study import WORDS, MiniStudy, mini_config, write_text


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
