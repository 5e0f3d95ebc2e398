"""A study of several poolings: scored alike from both sources, compared, and the first as if it were alone."""

import h5py
import pytest

from babelscope.io.tables import read_table

pytestmark = pytest.mark.workflow

POOLINGS = ["max", "last", "ml-selfcond"]


def tree(group):
    """Shapes and types of all that is in a group of an HDF5 file, further poolings left out."""
    found = {}
    group.visititems(
        lambda name, thing: found.update({name: (getattr(thing, "shape", ()), set(thing.attrs))})
    )
    return {name: of for name, of in found.items() if name.split("/")[0] not in POOLINGS}


def test_a_study_of_several_poolings_runs(finished, tmp_path):
    study = finished.copy(tmp_path)
    study.config["extraction"]["poolings"] = POOLINGS
    planned = study.planned()
    assert planned["extract_activations"] == planned["score_units"] == 6
    study.snakemake("report")
    for name in ("overlap.parquet", "reliability.parquet", "lifelines.parquet", "probes.parquet"):
        was, now = (each.results / "tables" / name for each in (finished, study))
        assert now.read_bytes() == was.read_bytes(), name
    choices = read_table(study.results / "tables/choices.parquet")
    assert list(dict.fromkeys(choices["pooling"])) == [*POOLINGS, ""]
    assert set(choices["site"]) == {"*", "mlp_act", "mlp_out", ""}
    of_max = choices["pooling"] == "max"
    alone = read_table(finished.results / "tables/choices.parquet")
    alone = alone[alone["pooling"] == "max"].reset_index(drop=True)
    assert choices[of_max].reset_index(drop=True).equals(alone)
    assert (
        not choices.loc[choices["pooling"] == "last", "value"].reset_index(drop=True).equals(alone["value"])
    )
    conclusions = read_table(study.results / "tables/choice_conclusions.tsv")
    assert set(conclusions["asks"]) == {"above null", "rises"}  # one trained step: no probe falls
    page = (study.results / "report.html").read_text(encoding="utf-8")
    assert "Would other choices have found the same?" in page
    assert "above the null at the last step in" in page

    scores = study.results / "scores/tiny-seed0/4/en.h5"
    units = study.results / "activations/tiny-seed0/4/en.units.h5"
    for path in (scores, units):
        with h5py.File(path) as file:
            cell = file["4/en"]
            assert cell.attrs["pooling"] == "max"
            for pooling in POOLINGS[1:]:
                assert cell[pooling].attrs["pooling"] == pooling
                assert tree(cell[pooling]) == tree(cell)
    from_the_store = scores.read_bytes()
    study.config["keep_activations"] = False
    study.snakemake(str(scores.relative_to(study.folder)), "--force")
    assert scores.read_bytes() == from_the_store
