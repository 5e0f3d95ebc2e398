"""A study to begin with: it plans at once, or nothing is written and the reason is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from babelscope.cli import main
from babelscope.study.loading import load_study
from tiny_models import tiny_model, tiny_tokenizer

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["water", "house", "river", "dog"]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that looks like a checkout."""
    (tmp_path / "config").mkdir()
    for name in ("config.yaml", "concepts"):
        (tmp_path / "config" / name).symlink_to(ROOT / "config" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def text(folder, langs, n=400, start=0):
    folder.mkdir(parents=True)
    for lang in langs:
        lines = [
            f"{WORDS[at // 2 % 4]} {lang}word{at} {lang}other{at % 7} thing {at}."
            for at in range(start, start + n)
        ]
        (folder / f"{lang}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def written(*arguments):
    assert main(["new", "mine", *arguments]) == 0
    content = Path("config/studies/mine.yaml").read_text(encoding="utf-8")
    return content, load_study(yaml.safe_load(content))


def test_the_demos_kind(checkout, capsys):
    content, study = written()
    assert study.config["study"] == "mine"
    assert set(study.models) == {"bridged-seed0", "isolated-seed0"}
    assert "babelscope plan --configfile config/studies/mine.yaml" in capsys.readouterr().out
    assert content.count("#") > 5


def test_a_suite_without_its_faulty_steps(checkout):
    _, study = written("--suite", "bloom-560m")
    model = study.models["bloom-560m"]
    assert len(model.steps) >= 4
    assert 0 in model.steps  # the random baseline
    assert not {500_000, 600_000} & set(model.steps)


def test_text_of_ones_own_in_the_languages_that_are_there(checkout):
    text(checkout / "data/web", ["de", "en", "no"])
    text(checkout / "data/dev", ["en", "no", "sw"], start=1000)
    (checkout / "words.yaml").write_text("water: [water]\nhouse: [house]\nriver: [river]\n")
    content, study = written(
        "--text", "data/web/{lang}.txt", "--parallel", "data/dev/{lang}.txt", "--words", "words.yaml"
    )
    assert study.languages == ("en", "no")
    assert '"no"' in content
    assert study.concepts.label_language == "en"
    assert study.tokenizers["subword"].vocabulary_size in (8000, 4000, 2000, 1000)


def test_fewer_positives_where_the_text_is_short(checkout):
    text(checkout / "data/dev", ["en", "de"], n=50)
    (checkout / "words.yaml").write_text("water: [water]\nhouse: [house]\nriver: [river]\n")
    _, study = written("--suite", "bloom-560m", "--parallel", "data/dev/{lang}.txt", "--words", "words.yaml")
    assert study.concepts.min_positive == 10


def test_folders_of_checkpoints(checkout):
    for step in (0, 10):
        tiny_model("gpt2").save_pretrained(checkout / f"run/checkpoint-{step}")
        tiny_tokenizer().save_pretrained(checkout / f"run/checkpoint-{step}")
    _, study = written("--folder", "run/checkpoint-{step}", "--out", "config/studies/mine.yaml")
    assert study.models["mine"].steps == (0, 10)


def test_a_folder_is_enough_where_its_names_say_the_rest(checkout):
    text(checkout / "data/web", ["de", "en"])
    text(checkout / "data/dev", ["de", "en"], start=1000)
    for other in ("README.md", "NUMBERS.tsv", "notes.txt"):
        (checkout / "data/dev" / other).write_text("not a language\n")
    (checkout / "words.yaml").write_text("water: [water]\nhouse: [house]\nriver: [river]\n")
    _, study = written("--text", "data/web", "--parallel", "data/dev/", "--words", "words.yaml")
    assert study.languages == ("de", "en")
    assert study.corpora["text"].path == "data/web/{lang}.txt"


@pytest.mark.parametrize("named", ["run2/v1", "run2/v1/", "run2/v1/checkpoint-10"])
def test_a_folder_of_checkpoints_is_enough_or_one_of_them(checkout, named):
    for step in (0, 10):
        tiny_model("gpt2").save_pretrained(checkout / f"run2/v1/checkpoint-{step}")
        tiny_tokenizer().save_pretrained(checkout / f"run2/v1/checkpoint-{step}")
    (checkout / "run2/v1/runs").mkdir()
    _, study = written("--folder", named)
    assert study.models["mine"].steps == (0, 10)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--suite", "bloom-561m"], "bloom-560m"),
        (["--text", "data/web.txt"], "a path with {lang}"),
        (["--text", "config"], "a path with {lang}"),
        (["--folder", "one"], "a checkpoint alone lies at a path with a number"),
        (["--text", "data/web/{lang}.txt"], "fits no file"),
        (["--folder", "run/checkpoint-{step}"], "checkpoint"),
        (["--text", "a/{lang}", "--suite", "bloom-560m"], "one of --text, --folder and --suite"),
        (["--suite", "bloom-560m", "--parallel", "one/{lang}.txt"], "two languages or more"),
        (["--suite", "bloom-560m", "--parallel", "two/{lang}.txt"], "--words"),
    ],
)
def test_what_cannot_be_a_study_is_not_written(checkout, capsys, arguments, said):
    text(checkout / "one", ["en"])
    text(checkout / "two", ["de", "sw"])
    assert main(["new", "mine", *arguments]) == 1
    assert said in capsys.readouterr().err
    assert not Path("config/studies/mine.yaml").exists()


def test_the_demos_kind_needs_the_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "mine"]) == 1
    assert "config/config.yaml: is not here" in capsys.readouterr().err
    assert not Path("config/studies/mine.yaml").exists()


def test_a_name_that_is_taken_or_none_is_refused(checkout, capsys):
    written()
    assert main(["new", "mine"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert main(["new", "../mine", "--out", "x.yaml"]) == 1
    assert "NAME" in capsys.readouterr().err


def test_a_path_with_signs_of_yaml_stays_one_value(checkout):
    text(checkout / 'data/a "b": c', ["de", "en"])
    _, study = written("--text", 'data/a "b": c/{lang}.txt')
    assert study.corpora["text"].path == 'data/a "b": c/{lang}.txt'
