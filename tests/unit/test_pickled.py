"""What a ``.bin`` file of torch holds, told without torch: as torch tells it, or not at all."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from babelscope.errors import ModelError
from babelscope.models.pickled import PickledTensor, pickled_tensors
from babelscope.models.tensors import check_tensors
from tiny_models import tiny_model

TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("bin") / "pytorch_model.bin"


shapes = st.lists(st.integers(0, 4), max_size=3)
tensors = st.dictionaries(st.text(max_size=8), st.tuples(shapes, st.sampled_from(list(TYPES)), st.booleans()))


@given(tensors, st.booleans())
def test_tensors_are_told_as_torch_has_them(file, wanted, ordered):
    made = {}
    for name, (shape, dtype, parameter) in wanted.items():
        tensor = torch.zeros(shape, dtype=dtype)
        made[name] = torch.nn.Parameter(tensor, requires_grad=False) if parameter else tensor
    torch.save(OrderedDict(made) if ordered else made, file)
    assert pickled_tensors(file) == {
        name: PickledTensor(TYPES[dtype], tuple(shape)) for name, (shape, dtype, _) in wanted.items()
    }


def test_state_of_modules_views_and_tied_weights(file):
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    state = module.state_dict()
    state["tied"] = state["0.weight"]
    state["part"] = state["0.weight"].T[1:]
    torch.save(state, file)
    assert {name: tensor.shape for name, tensor in pickled_tensors(file).items()} == {
        name: tuple(tensor.shape) for name, tensor in state.items()
    }


class Asks:
    def __init__(self, *calls):
        self.calls = calls

    def __reduce__(self):
        return self.calls


@pytest.mark.parametrize(
    ("calls", "name"),
    [
        ((os.system, ("echo 1 > ran",)), "posix.system"),
        ((eval, ("open('ran', 'w')",)), "__builtin__.eval"),
        ((np.zeros, (3,)), "numpy"),
    ],
)
def test_a_pickle_that_asks_for_more_is_refused_and_not_run(file, monkeypatch, calls, name):
    monkeypatch.chdir(file.parent)
    torch.save({"weight": torch.zeros(2), "more": Asks(*calls)}, file)
    with pytest.raises(ModelError, match=f"is a pickle of more than weights: it asks for {name}"):
        pickled_tensors(file)
    assert not (file.parent / "ran").exists()


def archive(content: bytes, packed: int = zipfile.ZIP_STORED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", packed) as out:
        out.writestr("archive/data.pkl", content)
    return written.getvalue()


#: A tuple of two of the one before it, forty times: its hash takes as many steps as 2 ** 40.
DEEP = b"\x80\x02}" + b"K\x01q\x00" + b"h\x00\x86q\x00".join([b"h\x00"] * 40) + b"K\x01s."


@pytest.mark.parametrize(
    "content",
    [
        b"", b"PK" + bytes(50), b"no", archive(b""), archive(pickle.dumps({"a": 1})), archive(b"\x80\x02}q"),
        archive(DEEP), archive(pickle.dumps({"a": 1}), zipfile.ZIP_DEFLATED),
        archive(b"\x80\x02" + b"]" * 10 + b"."), archive(b"\x80\x02ccollections\nCounter\n)R."),
        archive(b"\x80\x02}r\xff\xff\xff\xff."),
    ],
)  # fmt: skip
def test_what_is_unusual_is_left_to_torch(file, content):
    file.write_bytes(content)
    assert not pickled_tensors(file)


def test_what_torch_writes_for_more_than_tensors_is_left_to_it(file):
    for held in ({"model": {"a": torch.zeros(1)}}, {"a": 1}, torch.nn.Linear(2, 2), [torch.zeros(1)]):
        torch.save(held, file)
        assert pickled_tensors(file) is None
    torch.save({"a": torch.zeros(1)}, file, _use_new_zipfile_serialization=False)
    assert pickled_tensors(file) is None


def test_planning_knows_what_a_bin_file_lacks(tmp_path):
    model = tiny_model("gpt2")
    model.config.save_pretrained(tmp_path)
    state = model.state_dict()
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert check_tensors(tmp_path)
    name = next(name for name in state if name.endswith("ln_1.weight"))
    torch.save({key: value for key, value in state.items() if key != name}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"ln_1\.weight"):
        check_tensors(tmp_path)
    torch.save({**state, "more": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="more"):
        check_tensors(tmp_path)
