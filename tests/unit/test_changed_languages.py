"""What is said where languages of a study went or changed places."""

from __future__ import annotations

import pytest

from babelscope.ops.languages import changed_languages
from babelscope.study.config import Study
from mini_study import mini_config


def study_of(languages, **keys):
    return Study.of({**mini_config(), "languages": languages, **keys})


@pytest.fixture
def ranked(tmp_path, monkeypatch):
    """A folder with a result of the study."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "results/mini/best/tiny-seed0/0.h5"
    file.parent.mkdir(parents=True)
    file.touch()


@pytest.mark.parametrize("now", [["en", "ru"], ["en", "ru", "de"], ["de", "en", "ru", "tr"]])
@pytest.mark.parametrize(
    ("kept", "says"),
    [
        ({"keep_scores": True}, "ranked again, from the scores"),
        ({"keep_scores": False}, "scored and ranked again, from the activations"),
        ({"keep_scores": False, "keep_activations": False}, "the models run over all sentences again"),
    ],
)
def test_what_is_computed_again_is_said(ranked, now, kept, says):
    (told,) = changed_languages(study_of(now, **kept), study_of(["en", "de", "ru"]))
    assert told.startswith(f"languages: the last run had en, de, ru, now there are {', '.join(now)}: ")
    assert says in told
    assert told.endswith("put them back as they were to keep what is there")


@pytest.mark.parametrize("now", [["en", "de", "ru"], ["en", "de", "ru", "tr"]])
def test_of_the_same_languages_and_one_more_nothing_is_said(ranked, now):
    assert changed_languages(study_of(now), study_of(["en", "de", "ru"])) == []


def test_without_results_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert changed_languages(study_of(["en", "de"]), study_of(["en", "de", "ru"])) == []
    assert changed_languages(study_of(["en", "de"]), None) == []
