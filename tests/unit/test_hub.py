"""Fetching, with the real client against a small hub on loopback."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import huggingface_hub.constants
import pytest

from babelscope.errors import DataError, StudyError
from babelscope.models.files import Manifest, read_manifest, weights_hash
from babelscope.models.hub.client import HubError, HubPlace
from babelscope.models.hub.fetch import DISK_MARGIN, fetch_checkpoint
from babelscope.models.hub.listing import list_repo
from hub_server import HubServer

SIZES = {"model_type": "gpt2", "n_layer": 2, "n_embd": 16, "n_head": 2}
CONFIG = json.dumps({**SIZES, "vocab_size": 100}).encode()
WORDS = {"tokenizer.json": b'{"version": "1.0"}', "tokenizer_config.json": b"{}"}
WEIGHTS = bytes(range(256)) * 2000  # 512 kB: several chunks
CHUNK = 50_000
MODEL = {"config.json": CONFIG, "model.safetensors": WEIGHTS, **WORDS}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    # The client writes chunks of 10 MB, which is more than all of these files.
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def fetch(folder: Path, place: HubPlace, tokenizer: HubPlace | None = None, **arguments) -> Manifest:
    arguments = {"sizes": SIZES, "waits": (0.01, 0.02), **arguments}
    return fetch_checkpoint(
        place, tokenizer or place, folder, scratch=folder.parent / f".unfinished-{folder.name}", **arguments
    )


def index_of(*shards: str) -> bytes:
    return json.dumps(
        {"metadata": {}, "weight_map": {f"w{at}": name for at, name in enumerate(shards)}}
    ).encode()


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_single_file(server, tmp_path):
    extra = {"README.md": b"x", "optimizer.bin": b"x", "flax_model.msgpack": b"x", "modeling.py": b"x",
             "pytorch_model.bin": b"another format", "onnx/model.onnx": b"x"}  # fmt: skip
    server.add_repo("org/name", {"step1": {**MODEL, **extra}})
    manifest = fetch(tmp_path / "1", HubPlace("org/name", "step1"))
    assert names(tmp_path / "1") == {*MODEL, "fetched.json"}
    assert (tmp_path / "1/model.safetensors").read_bytes() == WEIGHTS
    assert read_manifest(tmp_path / "1") == manifest
    assert manifest.commit == server.repos["org/name"].commit("step1")
    files = {entry["name"]: entry for entry in manifest.files}
    assert files["model.safetensors"]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    assert files["config.json"]["sha256"] == hashlib.sha256(CONFIG).hexdigest()
    assert not (tmp_path / ".unfinished-1").exists()


def test_everything_is_of_one_commit(server, tmp_path):
    server.add_repo("org/name", {"main": MODEL})
    fetch(tmp_path / "1", HubPlace("org/name", "main"))
    commit = server.repos["org/name"].commit("main")
    resolved = [r.path for r in server.requests if "/resolve/" in r.path]
    assert resolved
    assert all(f"/resolve/{commit}/" in path for path in resolved)


def test_shards(server, tmp_path):
    shards = {"model-00001-of-00002.safetensors": WEIGHTS, "model-00002-of-00002.safetensors": WEIGHTS[:1000]}
    index = {"model.safetensors.index.json": index_of(*shards)}
    server.add_repo("org/name", {"step1": {"config.json": CONFIG, **index, **shards, **WORDS}})
    fetch(tmp_path / "1", HubPlace("org/name", "step1"))
    assert names(tmp_path / "1") == {"config.json", "fetched.json", *index, *shards, *WORDS}


def test_bin_weights_and_a_tokenizer_elsewhere(server, tmp_path):
    server.add_repo("org/steps", {"global_step10": {"config.json": CONFIG, "pytorch_model.bin": WEIGHTS}})
    # Its config.json is of another model: it must not come over ours.
    server.add_repo("org/final", {"main": {"config.json": b"{}", **WORDS, "merges.txt": b"a b"}})
    manifest = fetch(tmp_path / "10", HubPlace("org/steps", "global_step10"), HubPlace("org/final", "main"))
    assert names(tmp_path / "10") == {
        "config.json",
        "pytorch_model.bin",
        "merges.txt",
        "fetched.json",
        *WORDS,
    }
    assert (tmp_path / "10/config.json").read_bytes() == CONFIG
    assert (manifest.tokenizer_repo, manifest.tokenizer_revision) == ("org/final", "main")


def test_a_sub_folder(server, tmp_path):
    inside = {f"iter_20/{name}": data for name, data in MODEL.items()}
    server.add_repo("org/name", {"main": {**inside, "iter_40/config.json": b"{}", "README.md": b"x"}})
    fetch(tmp_path / "20", HubPlace("org/name", "main", "iter_20"))
    assert names(tmp_path / "20") == {*MODEL, "fetched.json"}
    with pytest.raises(HubError, match=r"no such folder; there are iter_20, iter_40"):
        fetch(tmp_path / "30", HubPlace("org/name", "main", "iter_30"))


# --------------------------------------------------------------------------- what is not there


def refused(folder: Path, place: HubPlace, **arguments) -> HubError:
    with pytest.raises(HubError) as raised:
        fetch(folder, place, **arguments)
    assert not folder.exists()
    return raised.value


def test_a_repository_that_is_not_there(server, tmp_path):
    error = refused(tmp_path / "1", HubPlace("org/none", "main"))
    assert "no such repository, or it is private" in error.problem
    assert "hf auth login" in error.hint


@pytest.mark.parametrize("tags", [False, True])
def test_a_revision_that_is_not_there(server, tmp_path, tags):
    steps = {f"step{step}": MODEL for step in range(0, 40, 2)}
    server.add_repo("org/name", {"main": {}, **steps}, tags=tags)
    error = refused(tmp_path / "1", HubPlace("org/name", "step11"))
    assert "no such revision; there are 21: main, step0" in error.problem
    assert "step38" in error.problem
    assert "step10" in error.hint


def test_a_gated_repository(server, tmp_path):
    server.add_repo("org/name", {"main": MODEL}, gated=True)
    error = refused(tmp_path / "1", HubPlace("org/name", "main"))
    assert "gated" in error.problem
    assert "https://huggingface.co/org/name" in error.hint


def test_no_weights_that_can_be_read(server, tmp_path):
    server.add_repo("org/name", {"main": {"config.json": CONFIG, "model_optim_rng.pt": b"x", **WORDS}})
    error = refused(tmp_path / "1", HubPlace("org/name", "main"))
    assert "model_optim_rng.pt" in error.problem
    assert "convert" in error.hint


def test_no_tokenizer(server, tmp_path):
    server.add_repo("org/name", {"main": {"config.json": CONFIG, "model.safetensors": WEIGHTS}})
    error = refused(tmp_path / "1", HubPlace("org/name", "main"))
    assert "has no tokenizer" in error.problem
    assert "tokenizer_repo" in error.hint
    assert not server.downloads("model.safetensors")


def test_no_name_of_a_repository(server, tmp_path):
    assert "no name of a repository" in refused(tmp_path / "1", HubPlace("a/b/c", "main")).problem


def test_a_machine_without_network_does_not_wait_for_minutes(server, tmp_path, monkeypatch):
    """It waited four minutes, as if the hub would come back."""
    waited = []
    monkeypatch.setattr("babelscope.models.hub.client.time.sleep", waited.append)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    with pytest.raises(HubError, match="cannot be reached") as caught:
        fetch(tmp_path / "x", HubPlace("org/model", "main"), waits=(0.01, 5, 60, 180))
    assert waited == [0.01]
    assert "source local" in caught.value.hint


def test_no_network(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    error = refused(tmp_path / "1", HubPlace("org/name", "main"))
    assert "cannot be reached" in error.problem
    assert "source local" in error.hint


def test_offline(server, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    error = refused(tmp_path / "1", HubPlace("org/name", "main"))
    assert "--until fetch_checkpoint" in error.hint


# ------------------------------------------------------------------------------ what goes wrong


def test_a_cut_connection_goes_on_where_it_stopped(server, tmp_path):
    server.add_repo("org/name", {"main": MODEL})
    server.cut_after("model.safetensors", 200_000)
    fetch(tmp_path / "1", HubPlace("org/name", "main"))
    first, second = server.downloads("model.safetensors")
    assert first.range is None
    assert second.range == "bytes=200000-"
    assert second.sent == len(WEIGHTS) - 200_000
    assert (tmp_path / "1/model.safetensors").read_bytes() == WEIGHTS


def test_cut_off_for_good_then_run_again(server, tmp_path):
    server.add_repo("org/name", {"main": MODEL})
    server.cut_after("model.safetensors", 300_000, then=(500, 3))
    assert "500" in refused(tmp_path / "1", HubPlace("org/name", "main")).problem
    before = len(server.downloads("model.safetensors"))
    fetch(tmp_path / "1", HubPlace("org/name", "main"))
    (again,) = server.downloads("model.safetensors")[before:]
    assert again.range == "bytes=300000-"
    assert len(server.downloads("config.json")) == 1, "what is whole is not fetched again"
    assert (tmp_path / "1/model.safetensors").read_bytes() == WEIGHTS


def test_a_killed_process_goes_on_where_it_stopped(server, tmp_path):
    server.add_repo("org/name", {"main": MODEL})
    server.slow(0.25)
    code = (
        "import sys; from pathlib import Path; from babelscope.models.hub.fetch import *\n"
        "import huggingface_hub.constants as constants\n"
        f"constants.DOWNLOAD_CHUNK_SIZE = {CHUNK}\n"
        "place = HubPlace('org/name', 'main'); folder = Path(sys.argv[1])\n"
        "fetch_checkpoint(place, place, folder, scratch=folder.parent / f'.unfinished-{folder.name}')"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "0"}
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "1")], env=environment)
    part = tmp_path / ".unfinished-1/model.safetensors.part"
    for _ in range(300):
        if part.exists() and part.stat().st_size > 100_000:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = part.stat().st_size
    assert 100_000 < done < len(WEIGHTS)
    assert not (tmp_path / "1").exists()
    server.slow(0)
    time.sleep(0.5)
    before = len(server.downloads("model.safetensors"))
    fetch(tmp_path / "1", HubPlace("org/name", "main"))
    again = server.downloads("model.safetensors")[before:]
    assert f"bytes={done}-" in [request.range for request in again]
    assert (tmp_path / "1/model.safetensors").read_bytes() == WEIGHTS


def test_a_slow_hub_is_waited_for(server, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    server.add_repo("org/name", {"main": MODEL})
    server.slow(0.1)  # a file takes longer than the time limit, which is for silence
    fetch(tmp_path / "1", HubPlace("org/name", "main"))
    (only,) = server.downloads("model.safetensors")
    assert only.sent == len(WEIGHTS)


def test_a_hub_that_falls_silent_is_asked_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    server.add_repo("org/name", {"main": MODEL})
    server.stall_after("model.safetensors", 200_000, seconds=3)
    fetch(tmp_path / "1", HubPlace("org/name", "main"))
    first, second = server.downloads("model.safetensors")
    assert (first.sent, second.range) == (200_000, "bytes=200000-")
    assert (tmp_path / "1/model.safetensors").read_bytes() == WEIGHTS


def test_the_hub_is_busy_twice(server, tmp_path):
    server.add_repo("org/name", {"main": MODEL})
    server.status("config.json", 503, times=2)
    fetch(tmp_path / "1", HubPlace("org/name", "main"))
    assert len(server.downloads("config.json")) == 3


def test_the_hub_says_no(server, tmp_path):
    server.add_repo("org/name", {"main": MODEL})
    server.status("config.json", 403, times=9)
    assert "403" in refused(tmp_path / "1", HubPlace("org/name", "main")).problem
    assert len(server.downloads("config.json")) == 1


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_wrong_byte_once(server, tmp_path, name):
    server.add_repo("org/name", {"main": MODEL})
    server.corrupt(name)
    fetch(tmp_path / "1", HubPlace("org/name", "main"))
    assert (tmp_path / "1" / name).read_bytes() == MODEL[name]


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_wrong_byte_always(server, tmp_path, name):
    server.add_repo("org/name", {"main": MODEL})
    server.corrupt(name, times=99)
    error = refused(tmp_path / "1", HubPlace("org/name", "main"))
    assert name in error.problem
    assert "expected" in error.problem
    assert not (tmp_path / ".unfinished-1" / name).exists()


def test_a_full_disk(server, tmp_path, monkeypatch):
    server.add_repo("org/name", {"main": MODEL})
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, DISK_MARGIN + 1000))
    error = refused(tmp_path / "1", HubPlace("org/name", "main"))
    assert "0.0 GB are still to be downloaded, 1.1 GB are free" in error.problem
    assert not server.downloads("model.safetensors")


def test_sizes_are_compared_before_the_weights(server, tmp_path):
    server.add_repo("org/name", {"main": MODEL})
    with pytest.raises(StudyError, match=r"n_layers: the study says 3, the model has 2"):
        fetch(tmp_path / "1", HubPlace("org/name", "main"), sizes={**SIZES, "n_layer": 3})
    with pytest.raises(StudyError, match=r"got 'bloom'; allowed: gpt2"):
        fetch(tmp_path / "1", HubPlace("org/name", "main"), sizes={**SIZES, "model_type": "bloom"})
    assert not server.downloads("model.safetensors")
    assert not (tmp_path / "1").exists()


def test_two_runs_on_one_step(server, tmp_path):
    server.add_repo("org/name", {"main": MODEL})
    server.slow(0.1)
    first = threading.Thread(target=fetch, args=(tmp_path / "1", HubPlace("org/name", "main")))
    first.start()
    for _ in range(100):
        if (tmp_path / ".unfinished-1" / "model.safetensors.part").exists():
            break
        time.sleep(0.05)
    with pytest.raises(HubError, match="another run downloads into this folder"):
        fetch(tmp_path / "1", HubPlace("org/name", "main"))
    first.join()
    assert (tmp_path / "1/model.safetensors").read_bytes() == WEIGHTS


# ------------------------------------------------------------------------------------ duplicates


@pytest.mark.parametrize("kept", ["whole", "damaged", "of another disk"])
def test_what_the_cache_of_the_libraries_holds_is_not_downloaded(server, tmp_path, monkeypatch, kept):
    server.add_repo("org/name", {"step1": MODEL})
    cache = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    arguments = {"revision": "step1", "cache_dir": cache, "endpoint": server.endpoint}
    blob = Path(huggingface_hub.hf_hub_download("org/name", "model.safetensors", **arguments)).resolve()
    assert len(server.downloads("model.safetensors")) == 1
    if kept == "damaged":
        blob.write_bytes(WEIGHTS[::-1])
    if kept == "of another disk":
        monkeypatch.setattr("os.link", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EXDEV, "disk")))
    fetch(tmp_path / "1", HubPlace("org/name", "step1"))
    ours = tmp_path / "1/model.safetensors"
    assert ours.read_bytes() == WEIGHTS
    assert not ours.is_symlink()
    assert ours.samefile(blob) == (kept == "whole")
    assert len(server.downloads("model.safetensors")) == (2 if kept == "damaged" else 1)


def test_equal_weights_are_linked_and_not_downloaded(server, tmp_path, caplog):
    server.add_repo("org/name", {"step1": MODEL, "step2": {**MODEL, "README.md": b"another commit"}})
    one = fetch(tmp_path / "1", HubPlace("org/name", "step1"))
    two = fetch(tmp_path / "2", HubPlace("org/name", "step2"), siblings=[tmp_path / "1"])
    assert one.commit != two.commit
    assert one.weights_sha256 == two.weights_sha256
    assert two.linked_from == str(tmp_path / "1")
    assert len(server.downloads("model.safetensors")) == 1
    assert (tmp_path / "2/model.safetensors").samefile(tmp_path / "1/model.safetensors")
    assert "has the weights of" in caplog.text


def test_other_weights_are_downloaded(server, tmp_path):
    other = {**MODEL, "model.safetensors": WEIGHTS[::-1]}
    server.add_repo("org/name", {"step1": MODEL, "step2": other})
    fetch(tmp_path / "1", HubPlace("org/name", "step1"))
    two = fetch(tmp_path / "2", HubPlace("org/name", "step2"), siblings=[tmp_path / "1", tmp_path / "9"])
    assert two.linked_from == ""
    assert (tmp_path / "2/model.safetensors").read_bytes() == WEIGHTS[::-1]


def test_an_empty_folder_is_replaced(server, tmp_path):
    server.add_repo("org/name", {"main": MODEL})
    (tmp_path / "1").mkdir()
    fetch(tmp_path / "1", HubPlace("org/name", "main"))
    assert (tmp_path / "1/config.json").exists()


def test_a_folder_that_was_not_fetched(tmp_path):
    assert read_manifest(tmp_path) == Manifest()
    (tmp_path / "fetched.json").write_text("{")
    with pytest.raises(DataError, match=r"fetched\.json: is damaged"):
        read_manifest(tmp_path)


# ------------------------------------------------------------------------------ which weights

SHARDS = {"model-00001-of-00002.safetensors": WEIGHTS, "model-00002-of-00002.safetensors": WEIGHTS[:1000]}
SHARDED = {"config.json": CONFIG, "model.safetensors.index.json": index_of(*SHARDS), **SHARDS, **WORDS}


@pytest.mark.parametrize(
    ("model", "beside"),
    [
        (SHARDED, {"consolidated.safetensors": WEIGHTS[::-1]}),
        (SHARDED, {"model-00003-of-00003.safetensors": b"of another upload"}),
        (MODEL, {"consolidated.safetensors": WEIGHTS[::-1]}),
        (MODEL, {"model.safetensors.index.json": index_of(*SHARDS), **SHARDS}),
        (MODEL, {"pytorch_model.bin.index.json": index_of("x.bin"), "optimizer.bin": b"x"}),
    ],
    ids=["consolidated beside shards", "a stray shard", "consolidated", "a stale index", "another format"],
)
def test_what_is_fetched_is_what_transformers_loads(server, tmp_path, model, beside):
    server.add_repo("org/name", {"main": {}, "step1": {**model, **beside}, "step2": model})
    manifest = fetch(tmp_path / "1", HubPlace("org/name", "step1"))
    assert names(tmp_path / "1") == {*model, "fetched.json"}
    assert manifest.weights_sha256 == weights_hash(tmp_path / "1")
    # Nor does it count as other weights what lies beside them.
    assert list_repo("org/name", hashes=True).duplicates == ((1, 2),)


def test_a_shard_that_the_index_names_and_the_hub_lacks(server, tmp_path):
    lacking = {name: data for name, data in SHARDED.items() if name != "model-00002-of-00002.safetensors"}
    server.add_repo("org/name", {"main": lacking})
    error = refused(tmp_path / "1", HubPlace("org/name", "main"))
    assert "index.json names model-00002-of-00002.safetensors, which is not there" in error.problem


def test_what_an_earlier_run_left_of_another_commit_is_not_taken(server, tmp_path):
    server.add_repo("org/name", {"main": MODEL})
    (tmp_path / ".unfinished-1").mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / ".unfinished-1" / name).write_bytes(b"old")
    fetch(tmp_path / "1", HubPlace("org/name", "main"))
    assert (tmp_path / "1/model.safetensors").read_bytes() == WEIGHTS
    assert (tmp_path / "1/tokenizer.json").read_bytes() == MODEL["tokenizer.json"]
