"""What a repository, a mirror or an earlier download may try on a fetch; see ``tests/cases/attacks``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest

from attacks import attacks
from babelscope.errors import BabelscopeError, DataError
from babelscope.models.files import read_manifest
from babelscope.models.hub.client import Hub, HubError, HubPlace
from babelscope.models.hub.fetch import fetch_checkpoint
from babelscope.runtime import job
from hub_server import HubServer

CONFIG = json.dumps({"model_type": "gpt2", "n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 9}).encode()
WEIGHTS = bytes(range(256)) * 100
MODEL = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "tokenizer.json": b'{"version": "1.0"}'}
MAIN = HubPlace("org/name", "main")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def fetch(folder: Path, place: HubPlace = MAIN, siblings=()):
    scratch = folder.parent / f".unfinished-{folder.name}"
    return fetch_checkpoint(place, place, folder, scratch=scratch, siblings=siblings, waits=(0.01,))


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


# ------------------------------------------------------------------------------------- one commit


@pytest.mark.parametrize("then", ["another repository", "a branch that moved", "another folder"])
def test_nothing_of_another_place_is_published(server, tmp_path, then):
    """The first download ends at its weights, and leaves a tokenizer that the second place does not have."""
    other = {"config.json": CONFIG, "model.safetensors": WEIGHTS[::-1], "vocab.txt": b"a\nb"}
    inside = {f"sub/{name}": data for name, data in other.items()}
    server.add_repo("org/name", {"main": {**MODEL, **inside}})
    server.add_repo("org/other", {"main": other})
    server.status("model.safetensors", 403, times=1)
    with pytest.raises(HubError, match="403"):
        fetch(tmp_path / "1")
    assert (tmp_path / ".unfinished-1/tokenizer.json").is_file()
    if then == "a branch that moved":
        server.add_repo("org/name", {"main": other})
    places = {
        "another repository": HubPlace("org/other", "main"),
        "another folder": HubPlace("org/name", "main", "sub"),
    }
    manifest = fetch(tmp_path / "1", places.get(then, MAIN))
    assert names(tmp_path / "1") == {*other, "fetched.json"}
    assert {entry["name"] for entry in manifest.files} == set(other)
    assert all((tmp_path / "1" / name).read_bytes() == data for name, data in other.items())


def test_no_stray_file_is_published(server, tmp_path):
    server.add_repo("org/name", {"main": MODEL})
    server.status("model.safetensors", 403, times=1)
    with pytest.raises(HubError, match="403"):
        fetch(tmp_path / "1")
    scratch = tmp_path / ".unfinished-1"
    (scratch / "modeling.py").write_text("print('run')")
    (scratch / "added_tokens.json").symlink_to(tmp_path / "private")
    (scratch / "chat_templates").mkdir()
    fetch(tmp_path / "1")
    assert names(tmp_path / "1") == {*MODEL, "fetched.json"}


@pytest.mark.parametrize("name", ["vocab.\x1b[31mtxt", "vocab.a\nb", "..", "vocab.\u202egnp"])
def test_a_name_that_is_none_is_not_taken(server, tmp_path, name):
    """It was downloaded, and the manifest that named it was damaged to every reader."""
    server.add_repo("org/name", {"main": {**MODEL, name: b"x"}})
    fetch(tmp_path / "1")
    assert names(tmp_path / "1") == {*MODEL, "fetched.json"}
    assert {entry["name"] for entry in read_manifest(tmp_path / "1").files} == set(MODEL)


# ------------------------------------------------------------------------------------------ links


IN_SCRATCH = ("model.safetensors.part", ".lock", ".claim.json", "config.json.part")


@pytest.mark.parametrize(
    ("name", "hard"), [(".", False), *((name, hard) for name in IN_SCRATCH for hard in (False, True))]
)
def test_nothing_is_written_through_a_link(server, tmp_path, name, hard):
    server.add_repo("org/name", {"main": MODEL})
    server.status("config.json", 403, times=1)
    with pytest.raises(HubError, match="403"):
        fetch(tmp_path / "1")  # so that the claim of the attacker's folder is the right one
    (tmp_path / "elsewhere").mkdir()
    private = tmp_path / "elsewhere/private"
    private.write_bytes(b"private")
    scratch = tmp_path / ".unfinished-1"
    if name == ".":
        scratch.rename(tmp_path / "was")
        scratch.symlink_to(private.parent)
    else:
        (scratch / name).unlink(missing_ok=True)
        if hard:
            os.link(private, scratch / name)
        else:
            (scratch / name).symlink_to(private)
    with contextlib.suppress(BabelscopeError):
        fetch(tmp_path / "1")
    assert private.read_bytes() == b"private"
    assert names(private.parent) == {"private"}


@pytest.mark.parametrize("name", [".lock", "config.json.part", "config.json", "model.safetensors"])
def test_a_folder_where_a_file_should_be_is_named(server, tmp_path, name):
    server.add_repo("org/name", {"main": MODEL})
    server.status("config.json", 403, times=1)
    with pytest.raises(HubError, match="403"):
        fetch(tmp_path / "1")
    taken = tmp_path / ".unfinished-1" / name
    taken.unlink(missing_ok=True)
    taken.mkdir()
    (taken / "inside").write_text("kept")
    with pytest.raises(BabelscopeError, match="is a folder"):
        fetch(tmp_path / "1")
    assert (taken / "inside").read_text() == "kept"


# ------------------------------------------------------------------------------------------ twins


@attacks("manifests")
def test_a_neighbour_that_claims_weights_is_not_believed(server, tmp_path, attack):
    server.add_repo("org/name", {"main": MODEL})
    (tmp_path / "elsewhere").write_bytes(WEIGHTS)
    neighbour = tmp_path / "2"
    neighbour.mkdir()
    real = hashlib.sha256(WEIGHTS).hexdigest()
    name = attack.get("name", "model.safetensors")
    sha256 = real if attack.get("sha256") is True else attack.get("sha256")
    entry = {"name": name, "bytes": len(WEIGHTS), "sha256": sha256}
    (neighbour / "fetched.json").write_text(attack.get("text") or json.dumps({"files": [entry]}))
    there = attack.get("there", "nothing")
    place = neighbour / name if not name.startswith("/") else tmp_path / "unused"
    if there in ("wanted", "other"):
        place.write_bytes(WEIGHTS if there == "wanted" else WEIGHTS[::-1])
    elif there == "link":
        place.symlink_to(tmp_path / "elsewhere")
    elif there == "fifo":
        os.mkfifo(place)
    manifest = fetch(tmp_path / "1", siblings=[neighbour])
    assert manifest.linked_from == ""
    assert len(server.downloads("model.safetensors")) == 1
    assert (tmp_path / "1/model.safetensors").read_bytes() == WEIGHTS
    assert not (tmp_path / "1/model.safetensors").is_symlink()


# ---------------------------------------------------------------------------------------- bounded


def test_a_server_that_sends_more_than_it_lists_is_cut_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    server.add_repo("org/name", {"main": MODEL})
    server.lengthen("model.safetensors", 50_000_000)
    with pytest.raises(HubError, match=r"sends more of model\.safetensors than the 25600 bytes"):
        fetch(tmp_path / "1")
    assert (tmp_path / ".unfinished-1/model.safetensors.part").stat().st_size <= len(WEIGHTS)
    assert server.downloads("model.safetensors")[0].sent < 50_000_000
    assert not (tmp_path / "1").exists()


def test_a_damaged_manifest_names_what_is_wrong(tmp_path):
    entry = {"name": "../x", "sha256": "0" * 64}
    (tmp_path / "fetched.json").write_text(json.dumps({"files": [entry]}))
    with pytest.raises(DataError, match=r"fetched\.json: is damaged: .*'\.\./x' is no name of a file"):
        read_manifest(tmp_path)


# ---------------------------------------------------------------------------------------- secrets


def test_a_login_in_the_endpoint_is_not_printed(server, tmp_path, monkeypatch, caplog, capfd):
    address = server.endpoint.removeprefix("http://")
    monkeypatch.setenv("HF_ENDPOINT", f"http://me:secret@{address}")
    server.add_repo("org/name", {"main": MODEL})
    server.cut_after("model.safetensors", 1000, then=(500, 9))
    handlers = logging.getLogger().handlers[:]
    log = tmp_path / "log"
    try:
        with pytest.raises(SystemExit), job(log, network=True):
            fetch(tmp_path / "1")
    finally:
        logging.getLogger().handlers[:] = handlers
    said = log.read_text() + "".join(capfd.readouterr())
    assert address in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://me:sec/ret@mirror.org", "https://me:sec?ret@mirror.org:x", "http://me:secret@mirror.org:99999",
        "me:secret@mirror.org", "ftp://secret.org", "https://", "http://[secret",
    ],
)  # fmt: skip
def test_an_endpoint_that_is_no_address_is_not_printed(monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(HubError, match="HF_ENDPOINT: is no address") as caught:
        Hub()
    assert "sec" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("endpoint", "warned"),
    [
        ("http://mirror.org", True),
        ("http://me:secret@mirror.org", True),
        ("http://127.0.0.1:8000", False),
        ("http://localhost", False),
        ("http://[::1]:80", False),
        ("https://mirror.org", False),
        ("http://127.0.0.1.mirror.org", True),
    ],
)
def test_a_token_in_the_open_is_warned_of(monkeypatch, caplog, endpoint, warned):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnopqrstuv")
    Hub()
    assert ("your token is sent to it in the open" in caplog.text) == warned
    assert "secret" not in caplog.text
    monkeypatch.delenv("HF_TOKEN")
    caplog.clear()
    Hub()
    assert caplog.text == ""


@pytest.mark.parametrize("network", [True, False])
def test_jobs_that_need_no_network_have_no_token(tmp_path, network):
    code = (
        "import sys; from babelscope.runtime import job\n"
        f"with job(sys.argv[1], network={network}):\n"
        "    from huggingface_hub.utils._headers import build_hf_headers\n"
        "    print(build_hf_headers().get('authorization'))"
    )
    (tmp_path / "token").write_text("hf_fromthefile")
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("HF_HUB_")
    }  # of other tests
    environment = {**kept, "HF_TOKEN": "hf_given", "HF_TOKEN_PATH": str(tmp_path / "token")}
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ("Bearer hf_given" if network else "None")
