"""``babelscope doctor``: every check at every level, with its remedy, against programs that say what we know.

The programs are scripts in the only folder of PATH, so that a Slurm or GPU of this machine does not matter.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import http.server
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from babelscope.commands import doctor as command
from babelscope.errors import StudyError
from babelscope.ops import doctor
from babelscope.study.loading import load_study

ROOT = Path(__file__).resolve().parents[2]
PROFILE = {
    "executor": "slurm",
    "slurm-partition-config": "partitions.yaml",
    "slurm-status-command": "squeue",
    "slurm-init-seconds-before-status-checks": 20,
}
LIMITS = {
    "cpu": {"max_runtime": 1440, "max_mem_mb": 180000, "max_threads": 32},
    "gpu": {"max_runtime": 1440, "max_mem_mb": 180000, "max_threads": 16, "max_gpu": 4},
}
# As Slurm 22.05 prints them.
ROWS = """\
cpu*|up|1-00:00:00|192000+|32|(null)|40|idle
cpu*|up|1-00:00:00|96000|16|(null)|2|down*
gpu|up|2-00:00:00|256000|64|gpu:a100:4(S:0-1)|3|mixed
old|up|infinite|64000|8|(null)|1|drained
"""
CONFIG = """\
Configuration data as of 2026-11-23T16:00:00
ClusterName             = lab
MinJobAge               = 300 sec
SlurmctldHost[0]        = head(10.0.0.1)
SlurmctldPort           = 6817
"""


class Programs:
    """A folder that is all of PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def script(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
        return file

    def says(self, name: str, text: str, *, status: int = 0, error: str = "") -> None:
        """A program that prints the same whatever it is asked."""
        out = self.folder.parent / f"{name}.out"
        out.write_text(text)
        self.script(name, f'/bin/cat "{out}"\necho "{error}" >&2\nexit {status}')

    def sinfo(self, rows: str) -> None:
        out = self.folder.parent / "sinfo.out"
        out.write_text(rows)
        self.script(
            "sinfo",
            'if [ "$1" = --version ]; then echo "slurm-wlm 22.05.8"; exit; fi\n'
            "[ \"$*\" = '-h -o %P|%a|%l|%m|%c|%G|%D|%T' ] || exit 9\n"
            f'/bin/cat "{out}"',
        )

    def slurm(self, rows: str = ROWS, config: str = CONFIG) -> None:
        self.sinfo(rows)
        self.says("squeue", "17\n18\n")
        self.says("sacct", "17\n")
        self.says("scontrol", config)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """No program is there until a test makes it; a working directory of its own; nothing inherited."""
    programs = Programs(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(programs.folder))
    for name in ("SLURM_CONF", "SNAKEMAKE_SLURM_PARTITIONS", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN",
                 "CUDA_VISIBLE_DEVICES", "HDF5_USE_FILE_LOCKING"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(doctor, "_has_token", lambda: False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return programs


def write_profile(settings=PROFILE, limits=LIMITS, folder="site") -> Path:
    Path(folder).mkdir(exist_ok=True)
    Path(folder, "config.yaml").write_text(yaml.safe_dump(settings))
    if limits is not None:
        Path(folder, "partitions.yaml").write_text(yaml.safe_dump({"partitions": limits}))
    return Path(folder)


def of(findings, check, level=None):
    """The findings of a check, and of a level."""
    return [one for one in findings if one.check == check and level in (None, one.level)]


def only(findings, check, level):
    """The one finding of a check, which has this level."""
    (found,) = of(findings, check)
    assert found.level == level, found
    assert found.remedy if level != "ok" else not found.remedy, found
    return found


# ------------------------------------------------------------------------------------- programs


def test_call(programs):
    assert doctor.call("missing") is None
    programs.script("hangs", "exec /bin/sleep 20")
    done = doctor.call("hangs", timeout=0.2)
    assert (done.returncode, done.stderr) == (124, "no answer within 0.2 s")
    programs.script("shows", "echo $SHOWN; echo warning >&2; echo fatal >&2; exit 3")
    os.environ["SHOWN"] = "yes"
    try:
        assert doctor.call("shows").stdout == "yes\n"
        assert doctor.call("shows", without="SHOWN").stdout == "\n"
    finally:
        del os.environ["SHOWN"]
    assert doctor._complaint(doctor.call("shows")) == "fatal"
    programs.script("dumb", "exit 5")
    assert doctor._complaint(doctor.call("dumb")) == "exit status 5"


# ------------------------------------------------------------------------------------- software


def test_python():
    assert doctor.check_python((3, 11, 7)) == doctor.Finding("python", "ok", "3.11.7")
    old = only([doctor.check_python((3, 10, 2))], "python", "problem")
    assert "3.10.2" in old.what
    assert "make env PYTHON=python3.11" in old.remedy
    assert doctor.check_python().level == "ok"


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Versions of what is installed, what babelscope needs, and the constraints."""
    versions = {"numpy": "2.4.6", "torch": "2.13.0+cu126", "ruff": "0.9.0"}

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    needs = ["numpy>=2.1", "torch>=2.6", 'ruff>=99; extra == "dev"', 'old>=1; python_version < "3"']
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda name: needs)
    monkeypatch.setattr(doctor, "CONSTRAINTS", tmp_path / "constraints.txt")
    doctor.CONSTRAINTS.write_text("numpy==2.4.6\ntorch==2.13.0\nruff==0.9.0\nabsent==1.0\n# numpy==9\n")
    return versions


def test_packages_fit(installed):
    fits = only(list(doctor.check_packages()), "packages", "ok")
    assert fits.what == "2 dependencies are installed"


def test_packages_that_differ_from_the_constraints(installed):
    installed["numpy"] = "2.5.0"
    fits, differs = doctor.check_packages()
    assert (fits.level, differs.level) == ("ok", "warning")
    assert differs.what.endswith("results may differ: numpy 2.5.0 instead of 2.4.6")
    assert "make env" in differs.remedy
    assert "pip install -c constraints.txt -e ." in differs.remedy


def test_packages_that_are_missing_or_too_old(installed):
    installed["numpy"] = "1.26.0"
    del installed["torch"]
    found = of(list(doctor.check_packages()), "packages", "problem")
    assert [one.what for one in found] == ["numpy is 1.26.0, not >=2.1; torch is missing"]
    assert found[0].remedy.startswith("make env")


def test_packages_where_babelscope_itself_is_not_installed(installed, monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert "make env" in only(list(doctor.check_packages()), "packages", "problem").remedy


def test_packages_of_this_environment_are_there():
    assert not of(list(doctor.check_packages()), "packages", "problem")


# ---------------------------------------------------------------------------------------- torch


@pytest.fixture
def torch(programs, tmp_path, monkeypatch):
    """Makes a torch of which we know what it says."""

    def make(*, version="2.13.0+cu126", cuda="12.6", gpus=(), start=""):
        (tmp_path / "lib").mkdir(exist_ok=True)
        (tmp_path / "lib/torch.py").write_text(
            f"{start}\nfrom types import SimpleNamespace as N\n"
            f"__version__ = {version!r}\nversion = N(cuda={cuda!r})\n"
            f"gpus = [N(name=name, total_memory=size) for name, size in {list(gpus)!r}]\n"
            "cuda = N(is_available=lambda: bool(gpus), device_count=lambda: len(gpus),\n"
            "         get_device_properties=lambda number: gpus[number])\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # a file made anew within a second is read anew

    return make


LISTED = "GPU 0: NVIDIA H100 (UUID: GPU-1)\nGPU 1: NVIDIA H100 (UUID: GPU-2)\n"


def test_torch_with_gpus(torch):
    torch(gpus=[("NVIDIA H100", 80_000_000_000)] * 2, start="print('a library says hello')")
    found = list(doctor.check_torch())
    assert only(found, "torch", "ok").what == "2.13.0+cu126, for CUDA 12.6"
    assert only(found, "gpu", "ok").what == "NVIDIA H100, 80 GB, NVIDIA H100, 80 GB"


def test_torch_without_a_gpu(torch):
    torch(version="2.13.0+cpu", cuda=None)
    found = list(doctor.check_torch())
    assert only(found, "torch", "ok").what == "2.13.0+cpu, a build for CPUs"
    assert only(found, "gpu", "ok").what == "no GPU here; jobs on this machine use the CPU"


def test_torch_for_cpus_where_jobs_go_to_gpus(torch):
    torch(version="2.13.0+cpu", cuda=None)
    found = only(list(doctor.check_torch(on_cluster=True)), "torch", "warning")
    assert "would not use them" in found.what
    assert "pip install --force-reinstall torch==2.13.0 --index-url https://" in found.remedy


def test_torch_cannot_use_the_gpu(torch, programs):
    programs.says("nvidia-smi", LISTED)
    torch(version="2.13.0+cpu", cuda=None)
    build = only(list(doctor.check_torch()), "gpu", "problem")
    assert "2 GPUs here, but torch 2.13.0+cpu is a build for CPUs" in build.what
    assert build.remedy.startswith("pip install --force-reinstall torch==2.13.0 ")
    torch()
    driver = only(list(doctor.check_torch()), "gpu", "problem")
    assert "driver too old for CUDA 12.6" in driver.what
    assert driver.remedy.startswith("nvidia-smi")
    assert "update the driver" in driver.remedy


def test_gpus_that_are_hidden_or_do_not_show(torch, programs, monkeypatch):
    torch()
    programs.says("nvidia-smi", "", status=9, error="couldn't communicate with the NVIDIA driver")
    broken = only(list(doctor.check_torch()), "gpu", "warning")
    assert "communicate with the NVIDIA driver" in broken.what
    assert "nvidia-smi" in broken.remedy
    programs.says("nvidia-smi", LISTED)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert only(list(doctor.check_torch()), "gpu", "warning").remedy == "unset CUDA_VISIBLE_DEVICES"


def test_torch_that_cannot_be_imported(torch):
    torch(start="raise ImportError('libcudart.so.12: not found')")
    found = only(list(doctor.check_torch()), "torch", "problem")
    assert found.what == "cannot be imported: ImportError: libcudart.so.12: not found"
    assert found.remedy.startswith("make env")
    torch(start="import os; os.abort()")  # a driver that ends the process does not end the doctor
    assert only(list(doctor.check_torch()), "torch", "problem").what.endswith("exit status -6")


# ----------------------------------------------------------------------------------------- disk


@pytest.mark.parametrize(
    ("free", "level"), [(1.9, "problem"), (2.0, "warning"), (19.9, "warning"), (20.0, "ok"), (5000.0, "ok")]
)
def test_disk(free, level, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    asked = []
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: asked.append(path) or usage(0, 0, round(free * 1e9))
    )
    found = only(list(doctor.check_disk(tmp_path / "none/results")), "disk", level)
    assert found.what == f"{free:,.1f} GB free in {tmp_path}"
    assert asked == [tmp_path]
    if level != "ok":
        link = f"mkdir -p /LARGE/DISK/results && ln -s /LARGE/DISK/results {tmp_path}/none/results"
        assert found.remedy.startswith(link)
        (tmp_path / "results").mkdir()
        (found,) = doctor.check_disk(tmp_path / "results")
        assert found.remedy.startswith(f"mv {tmp_path}/results /LARGE/DISK/results && ln -s ")


def test_disk_behind_a_broken_link(tmp_path):
    (tmp_path / "results").symlink_to(tmp_path / "gone/results")
    found = only(list(doctor.check_disk(tmp_path / "results")), "disk", "problem")
    assert found.remedy == f"mkdir -p {tmp_path}/gone/results"


def test_files_can_be_made_and_nothing_is_left(tmp_path):
    for place in ("results", "below/results"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        only([doctor.check_files(tmp_path / place)], "files", "ok")
    assert [path.name for path in tmp_path.rglob("*")] == ["below"]


def test_files_without_locks(tmp_path, monkeypatch):
    def flock(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    found = only([doctor.check_files(tmp_path)], "files", "warning")
    assert found.what == f"{tmp_path} has no file locks (No locks available); HDF5 asks for them"
    assert found.remedy == "export HDF5_USE_FILE_LOCKING=FALSE"
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "FALSE")
    only([doctor.check_files(tmp_path)], "files", "ok")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("function", ["mkdir", "replace"])
def test_files_that_cannot_be_made(function, tmp_path, monkeypatch):
    def refuse(*args, **more):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, function, refuse)
    found = only([doctor.check_files(tmp_path)], "files", "problem")
    assert found.what == f"{tmp_path} cannot hold results: Read-only file system"
    assert found.remedy.startswith(f"ls -ld {tmp_path}; mount ")


# ---------------------------------------------------------------------------------------- study


def demo():
    return load_study(yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8")))


def hub_study():
    """One model from the hub; its step 0 is made here, so two are to be fetched."""
    sizes = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2,
             "intermediate_size": 64, "max_position_embeddings": 256, "vocab_size": 100}  # fmt: skip
    models = {"mine": {"source": "hub", "repo": "org/mine", "revision": "step{step}", "steps": [1000, 2000], "random_baseline": True,
                       "architecture": "gpt_neox", "architecture_config": sizes}}  # fmt: skip
    return load_study(
        {
            "study": "far",
            "languages": ["en", "es"],
            "models": models,
            "sentences": {"source": "grammar", "per_concept": 20},
            "concepts": {"source": "grammar"},
            "experts": {"k": 5},
        }
    )


def test_study():
    study, found = doctor.check_study(demo)
    assert study.name == "demo"
    assert found == [doctor.Finding("study", "ok", "demo: 2 models, 22 steps, 8 languages")]


def test_study_with_an_error():
    def wrong():
        raise StudyError("experts.k", 0, "1 or more", "raise it")

    study, found = doctor.check_study(wrong)
    assert study is None
    assert found == [
        doctor.Finding("study", "problem", "config key `experts.k`: got 0; allowed: 1 or more", "raise it")
    ]

    def no_hint():
        raise StudyError("experts.k", 0, "1 or more")

    assert "config/README.md" in only(doctor.check_study(no_hint)[1], "study", "problem").remedy

    def no_package():
        raise ModuleNotFoundError("No module named 'jsonschema'")

    found = only(doctor.check_study(no_package)[1], "study", "problem")
    assert found.what == "cannot be loaded: No module named 'jsonschema'"
    assert "make env" in found.remedy


# ------------------------------------------------------------------------------------------ hub


@pytest.fixture
def endpoint(monkeypatch):
    """Starts a server that answers HEAD with a status."""
    servers = []

    def start(status):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response(status)
                self.end_headers()

            def log_message(self, *args):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("HF_ENDPOINT", address)
        return address

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def nobody(programs, monkeypatch):
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield address


@pytest.mark.parametrize("status", [200, 401, 404, 405])
def test_hub_is_reachable(status, programs, endpoint):
    address = endpoint(status)
    found = only(list(doctor.check_hub(hub_study())), "hub", "ok")
    assert found.what == f"{address} is reachable; 2 checkpoints not fetched yet"


@pytest.mark.parametrize("status", [407, 502])
def test_hub_behind_a_gateway_is_not(status, programs, endpoint):
    endpoint(status)
    assert str(status) in only(list(doctor.check_hub(hub_study())), "hub", "warning").what


def test_hub_is_not_reachable(nobody):
    found = only(list(doctor.check_hub(hub_study())), "hub", "warning")
    assert found.what.startswith(f"{nobody} is not reachable (")
    assert found.what.endswith("2 checkpoints not fetched yet")
    assert found.remedy.startswith("snakemake --cores 1 --until fetch_checkpoint")
    assert "export HF_ENDPOINT=" in found.remedy
    unknown = only(list(doctor.check_hub(None)), "hub", "warning")
    assert unknown.what.endswith("what the study needs of it is not known")
    assert "nothing to fetch" in only(list(doctor.check_hub(demo())), "hub", "ok").what
    assert "not asked (--offline)" in only(list(doctor.check_hub(None, offline=True)), "hub", "ok").what


def test_hub_is_switched_off(nobody, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    study = hub_study()
    found = only(list(doctor.check_hub(study)), "hub", "warning")
    assert found.what == "offline by HF_HUB_OFFLINE; 2 checkpoints not fetched yet"
    assert found.remedy.startswith("unset HF_HUB_OFFLINE; snakemake --cores 1 --until fetch_checkpoint")
    for step, left in ((1000, "1 checkpoint not fetched yet"), (2000, "nothing to fetch")):
        study.model_folder("mine", step).mkdir(parents=True)
        found = list(doctor.check_hub(study))
        assert left in of(found, "hub")[0].what
    assert only(found, "hub", "ok").what == "offline by HF_HUB_OFFLINE; nothing to fetch"


def test_token_is_there_or_not_but_never_shown(programs, monkeypatch):
    token = only(list(doctor.check_hub(None, offline=True)), "token", "ok")
    assert token.what == "none; public repositories need none"
    monkeypatch.undo()
    monkeypatch.setenv("HF_TOKEN", "hf_not-a-real-one")
    token = only(list(doctor.check_hub(None, offline=True)), "token", "ok")
    assert token.what == "there is one"


# ---------------------------------------------------------------------------------------- slurm


def test_slurm_is_not_there(programs):
    findings, partitions = doctor.check_slurm(None)
    assert findings == [doctor.Finding("slurm", "ok", "not found; local runs only")]
    assert partitions is None
    profile, _ = doctor.read_profile(write_profile())
    findings, partitions = doctor.check_slurm(profile)
    assert only(findings, "slurm", "problem").remedy.startswith("module load slurm")
    assert partitions is None


def test_slurm_does_not_answer(programs):
    profile, _ = doctor.read_profile(write_profile())
    programs.says("sinfo", "", status=1, error="sinfo: fatal: Could not establish a configuration source")
    found = only(doctor.check_slurm(profile)[0], "slurm", "problem")
    assert found.what == "does not answer: sinfo: fatal: Could not establish a configuration source"
    assert found.remedy.startswith("scontrol ping")
    assert "export SLURM_CONF=" in found.remedy
    assert doctor.check_slurm(profile)[1] is None
    only(doctor.check_slurm(None)[0], "slurm", "warning")  # a run on this machine does not need it


def test_slurm_whose_controller_hangs(programs, monkeypatch):
    real = doctor.call
    monkeypatch.setattr(doctor, "call", lambda *command, **more: real(*command, **{**more, "timeout": 0.5}))
    programs.script("sinfo", '[ "$1" = --version ] && echo "slurm 24.11.0" || exec /bin/sleep 20')
    profile, _ = doctor.read_profile(write_profile())
    assert "no answer within 0.5 s" in only(doctor.check_slurm(profile)[0], "slurm", "problem").what


def test_slurm_that_is_ready(programs):
    programs.slurm()
    profile, _ = doctor.read_profile(write_profile())
    findings, partitions = doctor.check_slurm(profile)
    assert only(findings, "slurm", "ok").what == "slurm-wlm 22.05.8"
    assert [one.what for one in of(findings, "partition", "ok")] == [
        "cpu: 1,440 minutes; per node 192,000 MB, 32 cores, no GPU; nodes: 40 idle, 2 down*",
        "gpu: 2,880 minutes; per node 256,000 MB, 64 cores, 4 GPUs; nodes: 3 mixed",
    ]
    assert only(findings, "partitions", "ok").what == "1 that the profile does not name"
    assert only(findings, "squeue", "ok").what == "works; 2 jobs of yours"
    assert only(findings, "sacct", "ok").what == "works"
    assert only(findings, "MinJobAge", "ok").what == "300 s, looks every 20 s"
    assert not of(findings, "SLURM_CONF")
    assert {one.level for one in findings} == {"ok"}
    assert list(partitions) == ["cpu", "gpu", "old"]


def test_no_accounting_database(programs):
    programs.slurm()
    programs.says("sacct", "", status=1, error="Slurm accounting storage is disabled")
    profile, _ = doctor.read_profile(write_profile())
    finding = only(doctor.check_slurm(profile)[0], "sacct", "warning")
    assert "Snakemake waits for ever" in finding.what
    assert "recover" in finding.remedy
    (programs.folder / "sacct").unlink()
    assert "not needed" in only(doctor.check_slurm(profile)[0], "sacct", "ok").what


def test_a_partition_that_is_not_up(programs):
    programs.slurm()
    down = of(doctor.check_slurm(None)[0], "partition", "warning")
    assert [(one.what.split(":")[0], one.remedy) for one in down] == [("old is not up", "sinfo -R -p old")]
    assert "no time limit" in down[0].what


@pytest.mark.parametrize(
    "rows",
    [
        "",
        "cpu*|down|1:00:00|16000|4|gpu:2|2|idle",
        "cpu*|up|1:00:00|16000|4|gpu:2|2|down*\ncpu*|up|1:00:00|16000|4|gpu:2|1|draining",
        "cpu*|up|1:00:00|16000|4|gpu:2|2|idle*",
        "cpu*|up|1:00:00|0|0|(null)|0|n/a",
    ],
)
def test_no_partition_is_up(rows, programs):
    programs.slurm(rows)
    profile, _ = doctor.read_profile(write_profile())
    (found,) = of(doctor.check_slurm(profile)[0], "partitions", "problem")
    assert (found.what, found.remedy.split()[:2]) == ("none is up", ["sinfo", "-R"])
    assert not of(doctor.check_slurm(None)[0], "partitions", "problem")
    assert len(of(doctor.check_slurm(None)[0], "partitions", "warning")) >= 1


def test_nodes_that_sleep_work(programs):
    assert doctor.read_partitions("cloud|up|infinite|16000|4|(null)|9|idle~")["cloud"].is_up


def test_no_partition_has_a_gpu(programs):
    programs.slurm("cpu*|up|1-00:00:00|192000|32|(null)|40|idle")
    (found,) = of(doctor.check_slurm(None)[0], "partitions", "warning")
    assert "none has a GPU" in found.what
    assert found.remedy.startswith("scontrol show node | grep -i gres")


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [("(null)", 0), ("gpu:2", 2), ("gpu:a100:4(S:0-1)", 4), ("gpu:1080ti:4", 4), ("gpu:2(IDX:0,1)", 2),
     ("gpu:3g.20gb:2,mps:200", 2), ("mps:100", 0), ("gpu:a100:2(S:0,1),gpu:v100:3", 5), ("gpu", 1)],
)  # fmt: skip
def test_gpus_of_a_node(gres, gpus):
    (partition,) = doctor.read_partitions(f"x|up|infinite|1|1|{gres}|1|idle").values()
    assert partition.gpus == gpus


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [
        ("30:00", 30),
        ("1:00:00", 60),
        ("7-00:00:00", 10080),
        ("1-02:03:30", 1563.5),
        ("infinite", float("inf")),
    ],
)
def test_time_limits_of_slurm(limit, minutes):
    (partition,) = doctor.read_partitions(f"x|up|{limit}|1|1|(null)|1|idle").values()
    assert partition.minutes == minutes


@pytest.mark.parametrize(
    ("given", "minutes"),
    [(90, 90), ("90", 90), ("2d12h30m", 3630), ("90s", 1.5), ("1:30", 90), ("1:30:30", 90.5), ("2-12", 3600),
     ("2-12:30", 3630), ("soon", None), (None, None)],
)  # fmt: skip
def test_time_limits_of_the_plugin(given, minutes):
    assert doctor._minutes_given(given) == minutes


def test_squeue_does_not_work(programs):
    programs.slurm()
    programs.says("squeue", "", status=1, error="slurm_load_jobs error")
    profile, _ = doctor.read_profile(write_profile())
    found = only(doctor.check_slurm(profile)[0], "squeue", "problem")
    assert found.what == "does not work: slurm_load_jobs error"
    assert found.remedy.startswith("squeue --me")
    (programs.folder / "squeue").unlink()
    assert "not on PATH" in only(doctor.check_slurm(None)[0], "squeue", "warning").what


def test_squeue_forgets_too_early(programs):
    programs.slurm(config="MinJobAge               = 45 sec\n")
    profile, _ = doctor.read_profile(write_profile())
    found = only(doctor.check_slurm(profile)[0], "MinJobAge", "warning")
    assert found.what == "squeue forgets ended jobs after 45 s; looks every 20 s need 60 s"
    assert found.remedy == "in site/config.yaml: slurm-init-seconds-before-status-checks: 15"
    settings = {key: value for key, value in PROFILE.items() if "seconds" not in key}
    programs.slurm(config="MinJobAge = 119 sec\n")
    profile, _ = doctor.read_profile(write_profile(settings))
    assert "need 120 s" in only(doctor.check_slurm(profile)[0], "MinJobAge", "warning").what
    programs.slurm(config="MinJobAge = 120 sec\n")
    only(doctor.check_slurm(profile)[0], "MinJobAge", "ok")
    (programs.folder / "scontrol").unlink()
    found = only(doctor.check_slurm(profile)[0], "MinJobAge", "warning")
    assert found.remedy == "scontrol show config | grep MinJobAge"
    assert not of(doctor.check_slurm(None)[0], "MinJobAge")


@pytest.fixture
def conf(programs, tmp_path, monkeypatch):
    """A cluster that only SLURM_CONF leads to."""
    programs.slurm()
    programs.script(
        "scontrol", f'[ -n "$SLURM_CONF" ] && exec /bin/cat "{tmp_path}/scontrol.out"; echo fatal >&2; exit 1'
    )
    programs.script("srun", "exit 0")
    file = tmp_path / "slurm.conf"
    file.write_text("ClusterName=lab\n")
    monkeypatch.setenv("SLURM_CONF", str(file))
    monkeypatch.setattr(doctor, "SYSTEM_CONF", tmp_path / "etc/slurm.conf")
    doctor.SYSTEM_CONF.parent.mkdir()
    return file


def test_slurm_conf_that_jobs_lose(conf, programs, tmp_path, monkeypatch):
    findings = doctor.check_slurm(None)[0]
    found = only(findings, "SLURM_CONF", "warning")
    assert found.what.startswith(
        f"{conf} is not {doctor.SYSTEM_CONF}: the plugin's job step drops the variable"
    )
    link, wrapper = found.remedy.split("\n")
    assert link.startswith(f"sudo ln -s {conf} {doctor.SYSTEM_CONF} ")
    # The remedy is a command: paste it, and the finding goes away.
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-c", wrapper], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{programs.folder}")
    assert f"SLURM_CONF={conf} exec {programs.folder}/srun" in (tmp_path / "bin/srun").read_text()
    only(doctor.check_slurm(None)[0], "SLURM_CONF", "ok")


def test_slurm_conf_that_is_the_systems(conf, monkeypatch):
    doctor.SYSTEM_CONF.write_text("ClusterName=another\n")
    only(doctor.check_slurm(None)[0], "SLURM_CONF", "warning")
    doctor.SYSTEM_CONF.unlink()
    doctor.SYSTEM_CONF.symlink_to(conf)
    assert not of(doctor.check_slurm(None)[0], "SLURM_CONF")


def test_slurm_conf_that_is_not_needed(conf, programs):
    programs.says("scontrol", CONFIG)  # whatever the variable says, such as in a job of a configless Slurm
    assert "found without it" in only(doctor.check_slurm(None)[0], "SLURM_CONF", "ok").what
    other = CONFIG.replace("= lab", "= other")
    programs.script("scontrol", f'[ -n "$SLURM_CONF" ] && echo "{CONFIG}" || echo "{other}"')
    only(doctor.check_slurm(None)[0], "SLURM_CONF", "warning")


# -------------------------------------------------------------------------------------- profile


def of_profile(settings=PROFILE, limits=LIMITS, rows=ROWS):
    """What is wrong with a profile; nothing if it is right."""
    profile, found = doctor.read_profile(write_profile(settings, limits))
    partitions = doctor.read_partitions(rows)
    return [*found, *doctor.check_settings(profile), *doctor.check_partitions(profile, partitions)]


def test_profile_that_is_right(programs, monkeypatch):
    assert of_profile() == []
    monkeypatch.chdir(ROOT)
    for name in ("slurm", "profiles/slurm"):  # ours, which leaves the partitions to the site
        profile, found = doctor.read_profile(name)
        assert [*found, *doctor.check_settings(profile), *doctor.check_partitions(profile, None)] == []


def test_profile_that_is_not_there(programs, tmp_path):
    found = only(doctor.read_profile("slurm")[1], "profile", "problem")
    assert found.remedy == "run this in the checkout: --profile slurm"
    Path("profiles/slurm").mkdir(parents=True)
    assert only(doctor.read_profile("slurm")[1], "profile", "problem").remedy == "--profile profiles/slurm"
    found = only(doctor.read_profile("profiles/slurm")[1], "profile", "problem")
    assert "profiles/slurm/config.yaml cannot be read: No such file" in found.what
    assert found.remedy == "cp profiles/slurm/*.yaml profiles/slurm/"
    (tmp_path / "config/snakemake").mkdir(parents=True)
    write_profile(folder=tmp_path / "config/snakemake/mine")  # as Snakemake finds it
    assert doctor.read_profile("mine")[1] == []


@pytest.mark.parametrize("text", ["a: [", "- a\n- b"])
def test_profile_that_cannot_be_read(text, programs):
    (write_profile() / "config.yaml").write_text(text)
    only(doctor.read_profile("site")[1], "profile", "problem")


def test_profile_of_another_executor(programs):
    found = only(of_profile({**PROFILE, "executor": "local"}), "profile", "problem")
    assert found.what == "its executor is 'local', so jobs would not go to Slurm"
    assert found.remedy == "in site/config.yaml: executor: slurm"


def test_profile_without_the_plugin(programs, monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    found = only(of_profile(), "profile", "problem")
    assert found.remedy == "pip install -c constraints.txt snakemake-executor-plugin-slurm"


def test_profile_with_array_jobs(programs):
    found = only(of_profile({**PROFILE, "slurm-array-jobs": "all"}), "profile", "problem")
    assert "2.8.0" in found.what
    subprocess.run(["/bin/sh", "-c", found.remedy], env={"PATH": "/usr/bin:/bin"}, check=True)
    profile, _ = doctor.read_profile("site")
    assert list(doctor.check_settings(profile)) == []


@pytest.mark.parametrize("status", ["sacct", None])
def test_profile_whose_status_is_not_by_squeue(status, programs):
    found = only(of_profile({**PROFILE, "slurm-status-command": status}), "profile", "warning")
    assert found.remedy == "in site/config.yaml: slurm-status-command: squeue"


def test_default_profile_that_overrides_it(programs):
    Path("profiles/default").mkdir(parents=True)
    file = Path("profiles/default/config.yaml")
    file.write_text("cores: all\njobs: 4\nretries: 1\n")
    found = only(of_profile(), "profile", "problem")
    assert found.what == "profiles/default/config.yaml sets jobs, retries and wins over site"
    assert found.remedy == "move jobs, retries from there to site/config.yaml"
    shutil.copy(ROOT / file, file)
    assert of_profile() == []


def test_profile_without_partitions(programs):
    settings = {**PROFILE, "slurm-partition-config": "none.yaml"}
    missing = only(of_profile(settings), "profile", "problem")
    assert missing.what == "site/none.yaml cannot be read: No such file or directory"
    assert missing.remedy == "generate-slurm-partition-config > site/none.yaml"
    del settings["slurm-partition-config"]
    unnamed = only(of_profile(settings), "profile", "warning")
    assert "every job goes to the default partition" in unnamed.what
    assert unnamed.remedy.startswith("in site/config.yaml: slurm-partition-config: partitions.yaml; then ")
    Path("site/partitions.yaml").write_text("cpu: {}\n")
    profile, found = doctor.read_profile(write_profile(limits=None))
    assert "has no mapping `partitions`" in only(found, "profile", "problem").what
    assert profile.described == {}


def test_partition_that_is_not_here(programs):
    found = only(of_profile(limits={**LIMITS, "long": {}}), "profile", "problem")
    assert found.what == "long in site/partitions.yaml is no partition here; there are: cpu, gpu, old"
    assert found.remedy == "generate-slurm-partition-config > site/partitions.yaml"
    assert of_profile(limits={**LIMITS, "far_long": {"cluster": "far"}}) == []  # sinfo shows one cluster
    found = only(of_profile(limits={**LIMITS, "cpu": None}), "profile", "problem")
    assert "cpu in site/partitions.yaml is None, no mapping" in found.what
    assert "max_runtime" in found.remedy


@pytest.mark.parametrize(
    ("partition", "key", "given", "what", "set_to"),
    [
        ("cpu", "max_runtime", 1441, "1,441; the cluster gives 1,440", "1440"),
        ("cpu", "max_runtime", "2d", "2,880; the cluster gives 1,440", "1440"),
        ("gpu", "max_mem_mb", 256001, "256,001; the cluster gives 256,000", "256000"),
        ("cpu", "max_mem_mb", "180G", "'180G', no number", "192000"),
        ("gpu", "max_threads", 65, "65; the cluster gives 64", "64"),
    ],
)
def test_limits_that_the_cluster_does_not_give(partition, key, given, what, set_to, programs):
    limits = {**LIMITS, partition: {**LIMITS[partition], key: given}}
    found = only(of_profile(limits=limits), "profile", "problem")
    assert found.what == f"{partition}: {key} is {what}"
    assert found.remedy == f"in site/partitions.yaml, below {partition}: {key}: {set_to}"


def test_limits_up_to_what_the_cluster_gives(programs):
    most = {"max_runtime": 1440, "max_mem_mb": 192000, "max_threads": 32}
    assert of_profile(limits={**LIMITS, "cpu": most, "old": {"max_runtime": 1e9}}) == []


def test_gpus_of_the_profile(programs):
    found = only(of_profile(limits={"cpu": LIMITS["cpu"], "gpu": {}}), "profile", "problem")
    assert found.what.startswith("no partition in site/partitions.yaml has max_gpu")
    assert found.remedy == "in site/partitions.yaml, below gpu: max_gpu: 1"
    found = only(of_profile(limits={"cpu": {"max_gpu": 1}, "gpu": {"max_gpu": 1}}), "profile", "problem")
    assert found.what == "cpu: has max_gpu, but its nodes have no GPU (gres)"
    assert found.remedy == "in site/partitions.yaml, below cpu: max_gpu: 0"


# -------------------------------------------------------------------------------------- as a whole


def test_diagnose(torch, programs):
    torch(version="2.13.0+cpu", cuda=None)
    programs.slurm()
    findings = doctor.diagnose(demo, profile=write_profile(), offline=True)
    order = ["python", "packages", "torch", "gpu", "disk", "files", "study", "hub", "token", "slurm",
             "partition", "partitions", "squeue", "sacct", "MinJobAge", "profile"]  # fmt: skip
    assert list(dict.fromkeys(one.check for one in findings)) == order
    assert "site, plugin " in only(findings, "profile", "ok").what
    assert "build for CPUs" in only(findings, "torch", "warning").what
    assert all(one.remedy for one in findings if one.level != "ok")
    local = doctor.diagnose(demo, offline=True)
    assert only(local, "torch", "ok")
    assert not of(local, "profile")


def test_table():
    findings = [
        doctor.Finding("python", "ok", "3.11.7"),
        doctor.Finding("disk", "problem", "1 GB free", "make room\nor more"),
        doctor.Finding("hub", "warning", "not reachable", "wait"),
    ]
    assert doctor.findings_text(findings).split("\n") == [
        "ok      python  3.11.7",
        "problem disk    1 GB free",
        "                remedy: make room",
        "                or more",
        "warning hub     not reachable",
        "                remedy: wait",
        "",
        "1 problem, 1 warning",
    ]
    last = [
        doctor.findings_text(part).split("\n")[-1] for part in (findings[:1], findings[::2], findings[1:2])
    ]
    assert last == ["ready", "ready, 1 warning", "1 problem, 0 warnings"]


def test_command(torch, programs, capsys):
    """On this machine, but for Slurm and torch, which are ours."""
    torch(version="2.13.0+cpu", cuda=None)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args(["--configfile", str(ROOT / "config/config.yaml"), "--offline"])
    assert command.run(args) == 0
    printed = capsys.readouterr().out
    assert re.search(rf"^ok +python +{sys.version_info[0]}\.{sys.version_info[1]}\.", printed, re.MULTILINE)
    assert re.search(r"^ok +study +demo: ", printed, re.MULTILINE)
    assert printed.rstrip().split("\n")[-1].startswith("ready")
    args = parser.parse_args(["--configfile", "none.yaml", "--offline", "--profile", "none"])
    assert command.run(args) == 1
    printed = capsys.readouterr().out
    assert re.search(r"^problem +study +none\.yaml: cannot be read", printed, re.MULTILINE)
    assert re.search(r"^problem +slurm +sinfo is not on PATH\n +remedy: ", printed, re.MULTILINE)
    assert re.search(r"^problem +profile +.*none.*\n +remedy: ", printed, re.MULTILINE)
    assert re.search(r"3 problems", printed.rstrip().split("\n")[-1])
