"""Lists of units in the formats of others."""

import pickle

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from babelscope.analysis.unit_lists import read_lape, read_unit_csv, write_lape, write_unit_csv
from babelscope.errors import DataError
from babelscope.units import place_of

UNITS = pd.DataFrame(
    [("de", 1, "mlp_act", 3), ("de", 2, "mlp_act", 0), ("zh", 2, "mlp_act", 7)],
    columns=["lang", "layer", "site", "unit"],
)


def test_csv_comes_back_with_names(tmp_path):
    write_unit_csv(UNITS.assign(concept=["=1+1", "NA", "007"]), tmp_path / "units.csv")
    found = read_unit_csv(tmp_path / "units.csv")
    assert found["name"].tolist() == ["L01.mlp_act.3", "L02.mlp_act.0", "L02.mlp_act.7"]
    assert found["concept"].tolist() == ["=1+1", "NA", "007"]
    pd.testing.assert_frame_equal(found[UNITS.columns], UNITS, check_dtype=False)
    assert ",'=1+1" in (tmp_path / "units.csv").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layer,site\n1,mlp_act\n", "lacks the columns ['unit']"),
        ("layer,site,unit\n1,mlp_act,2\n1,mlp_act,x\n", "line 3: `unit` is 'x'"),
        ("layer,site,unit\n-1,mlp_act,2\n", "line 2: `layer` is '-1'"),
        ("", "is not a readable table"),
    ],
)
def test_what_is_no_list_of_units_is_said(text, said, tmp_path):
    path = tmp_path / "units.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"units\.csv") as error:
        read_unit_csv(path)
    assert said in str(error.value)


def test_a_file_as_lape_writes_it_is_read(tmp_path):
    """By the lines of its identify.py: of each language a list of blocks, each a tensor of neurons."""
    lists = [
        [torch.tensor([3]).long(), torch.tensor([0]).long()],
        [torch.tensor([]).long(), torch.tensor([7])],
    ]
    torch.save(lists, tmp_path / "activation_mask.pth")
    found = read_lape(tmp_path / "activation_mask.pth", ["de", "zh"])
    pd.testing.assert_frame_equal(found[UNITS.columns], UNITS, check_dtype=False)
    assert [place_of(name) for name in found["name"]] == [
        (1, "mlp_act", 3),
        (2, "mlp_act", 0),
        (2, "mlp_act", 7),
    ]


places = st.tuples(st.sampled_from(["de", "en"]), st.integers(1, 3), st.integers(0, 20))


@given(st.sets(places))
def test_what_is_written_for_lape_comes_back(tmp_path_factory, units):
    path = tmp_path_factory.mktemp("lape") / "units.pth"
    table = pd.DataFrame(sorted(units), columns=["lang", "layer", "unit"]).assign(site="mlp_act")
    write_lape(table, path, ["de", "en"], n_blocks=3)
    found = read_lape(path, ["de", "en"])
    assert set(zip(found["lang"], found["layer"], found["unit"], strict=True)) == units
    assert [len(blocks) for blocks in torch.load(path, weights_only=True)] == [3, 3]


def test_units_that_lape_cannot_hold_are_refused(tmp_path):
    for wrong in (UNITS.assign(site="attn_out"), UNITS.assign(layer=3), UNITS.assign(layer=0)):
        with pytest.raises(ValueError, match="layers 1 to 2; got L0"):
            write_lape(wrong, tmp_path / "units.pth", ["de"], n_blocks=2)
    with pytest.raises(ValueError, match="lacking: lang"):
        write_lape(UNITS.drop(columns="lang"), tmp_path / "units.pth", ["de"], n_blocks=2)
    assert not list(tmp_path.iterdir())


class Runs:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([[torch.tensor([1])]], "is of 1 languages; got 2"),
        ({"de": [torch.tensor([1])]}, "is no list of blocks"),
        ([[torch.tensor([1])], [torch.tensor([1]), torch.tensor([2])]], "is no list of blocks"),
        ([[torch.tensor([1.5])], [torch.tensor([1])]], "language 0, block 0 holds no list of whole numbers"),
        ([[torch.tensor([1])], [torch.tensor([-1])]], "language 1, block 0 holds no list of whole numbers"),
        ([[torch.tensor([[1]])], [torch.tensor([1])]], "language 0, block 0 holds no list of whole numbers"),
        (Runs(), "cannot be read as weights only"),
    ],
)
def test_what_lape_does_not_write_is_said_and_never_run(found, said, tmp_path, capsys):
    path = tmp_path / "mask.pth"
    torch.save(found, path)
    with pytest.raises(DataError, match=r"mask\.pth") as error:
        read_lape(path, ["de", "zh"])
    assert said in str(error.value)
    path.write_bytes(pickle.dumps(found, protocol=2) if isinstance(found, Runs) else b"no file of torch")
    with pytest.raises(DataError, match="cannot be read as weights only"):
        read_lape(path, ["de", "zh"])
    assert "run" not in capsys.readouterr().out
