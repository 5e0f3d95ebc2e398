"""Several studies in one page: each model as in its own report, on one axis of tokens."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from babelscope.cli import main
from babelscope.report.explorer.packing import unpack
from babelscope.results import ResultsError, open_studies
from synthetic_explorer import KEPT, MODEL


def blocks_of(page: Path) -> dict[str, str]:
    return dict(re.findall(r'data-block="([^"]+)">([^<]+)</script>', page.read_text(encoding="utf-8")))


@pytest.fixture
def other(tmp_path):
    """The kept results as another study: other languages and sites, without tokens seen."""
    folder = tmp_path / "other"
    shutil.copytree(KEPT, folder)
    return folder


def bundle(*arguments: object) -> int:
    return main(["bundle", *map(str, arguments)])


def test_a_bundle_holds_the_models_of_all_its_studies(other, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert bundle(f"one={KEPT}", other, "-o", page) == 0
    assert re.search(r"page.html \([\d.]+ KB\), 2 models of one, other", capsys.readouterr().out)
    blocks = blocks_of(page)
    header, _ = unpack(blocks["study"])
    assert [model["name"] for model in header["models"]] == [f"one/{MODEL}", f"other/{MODEL}"]
    assert (header["axis"], header["notes"]) == ("tokens", [])
    assert header["languages"] == ["en", "de", "ru"]
    for kind in ("units/{}/0", "overlaps/{}", "matrix/{}", "texts/{}"):
        assert blocks[kind.format(0)] == blocks[kind.format(1)]  # they are alike


def test_models_whose_tokens_are_not_known_stand_by_step(other, tmp_path):
    steps = other / "tables/steps.tsv"
    pd.read_csv(steps, sep="\t").assign(tokens=None).to_csv(steps, sep="\t", index=False)
    assert bundle(KEPT, other, "-o", tmp_path / "page.html") == 0
    header, _ = unpack(blocks_of(tmp_path / "page.html")["study"])
    assert header["axis"] == "steps"
    assert header["notes"] == [
        f"Tokens seen are not known of other/{MODEL}: models stand side by side by training step."
    ]


@pytest.mark.parametrize("leaves_out", [False, True])
def test_only_a_study_that_says_so_leaves_flagged_steps_out(other, tmp_path, leaves_out):
    settings = json.loads((other / "study.json").read_text(encoding="utf-8"))
    settings["settings"].setdefault("report", {})["exclude_flagged"] = leaves_out
    (other / "study.json").write_text(json.dumps(settings), encoding="utf-8")
    for folder in (other, tmp_path / "third"):
        if folder != other:
            shutil.copytree(KEPT, folder)
        audit = pd.read_csv(folder / "tables/audit.tsv", sep="\t")
        audit.assign(flag=audit["step"] == 0, reasons="strange").to_csv(
            folder / "tables/audit.tsv", sep="\t", index=False
        )
    assert bundle(other, tmp_path / "third", "-o", tmp_path / "page.html") == 0
    header, _ = unpack(blocks_of(tmp_path / "page.html")["study"])
    assert [model["steps"] for model in header["models"]] == [[4] if leaves_out else [0, 4], [0, 4]]


def test_what_cannot_be_bundled_is_named(other, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert bundle(KEPT, tmp_path / "none", "-o", page) == 1
    assert f"{tmp_path / 'none'}: is no folder" in capsys.readouterr().err
    assert bundle(other, other, "-o", page) == 1
    assert (
        f"would both be called 'other'\nhint: name one of them, such as other={other}"
        in capsys.readouterr().err
    )
    (other / "tables/overlap.parquet").unlink()
    assert bundle(KEPT, other, "-o", page) == 1
    assert f"{other}: no overlap of experts; study other has nothing to explore" in capsys.readouterr().err
    assert not page.exists()


def test_best_units_of_several_studies_are_found_by_study_and_model(other):
    both = open_studies([KEPT, other])
    assert list(both.best(f"other/{MODEL}")) == list(both.studies["other"].best(MODEL))
    with pytest.raises(ResultsError, match=r"no study 'none'; there are: results-0\.1\.0, other"):
        both.best(f"none/{MODEL}")
