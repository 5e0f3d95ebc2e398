"""``babelscope doctor``: every check at every level, with its remedy, against programs that say what we know.

The programs are scripts in the only folder of PATH, so that a Slurm or GPU of this machine does not matter.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from babelscope.commands import doctor as command
from babelscope.errors import DataError, StudyError
from babelscope.ops.doctor import environment
from babelscope.ops.doctor.all_checks import diagnose
from babelscope.ops.doctor.cluster import (
    check_partitions,
    check_settings,
    check_slurm,
    read_partitions,
    read_profile,
)
from babelscope.ops.doctor.diagnosis import Diagnosis, diagnoses_text
from babelscope.ops.doctor.environment import check_packages, check_torch
from babelscope.ops.doctor.study import check_disk, check_hub, check_study
from babelscope.ops.programs import call, complaint
from babelscope.study.loading import load_study

ROOT = Path(__file__).resolve().parents[2]
PROFILE = {
    "executor": "slurm",
    "slurm-partition-config": "partitions.yaml",
    "slurm-status-command": "squeue",
    "slurm-pass-command-as-script": True,
    "slurm-init-seconds-before-status-checks": 20,
}
LIMITS = {
    "cpu": {"max_runtime": 1440, "max_mem_mb": 180000, "max_threads": 32},
    "gpu": {"max_runtime": 1440, "max_mem_mb": 180000, "max_threads": 16, "max_gpu": 4},
}
# As Slurm 22.05 prints them.
ROWS = """\
cpu*|up|1-00:00:00|192000+|32|(null)
cpu*|up|1-00:00:00|96000|16|(null)
gpu|up|2-00:00:00|256000|64|gpu:a100:4(S:0-1)
long|up|infinite|64000|8|(null)
old|down|infinite|64000|8|(null)
"""
CONFIG = "Configuration data as of 2026-11-23T16:00:00\nMinJobAge               = 300 sec\n"


class Programs:
    """A folder that is all of PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def script(self, name: str, text: str) -> None:
        file = self.folder / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def says(self, name: str, text: str, *, status: int = 0, error: str = "") -> None:
        """A program that prints the same whatever it is asked."""
        out = self.folder.parent / f"{name}.out"
        out.write_text(text)
        self.script(name, f'/bin/cat "{out}"\necho "{error}" >&2\nexit {status}')

    def slurm(self, rows: str = ROWS, config: str = CONFIG) -> None:
        self.says("sinfo", rows)
        self.says("squeue", "17\n18\n")
        self.says("sacct", "17\n")
        self.says("scontrol", config)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """No program is there until a test makes it; a working directory of its own; nothing inherited."""
    programs = Programs(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(programs.folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return programs


def write_profile(settings=PROFILE, limits=LIMITS, folder="site") -> Path:
    Path(folder).mkdir(exist_ok=True, parents=True)
    Path(folder, "config.yaml").write_text(yaml.safe_dump(settings))
    Path(folder, "partitions.yaml").write_text(yaml.safe_dump({"partitions": limits}))
    return Path(folder)


def only(found, check, level):
    """The one finding of a check, which has this level."""
    (one,) = [one for one in found if one.check == check]
    assert one.level == level, one
    assert one.remedy if level != "ok" else not one.remedy, one
    return one


# ------------------------------------------------------------------------------------- programs


def test_programs_that_hang_fail_or_are_not_there(programs):
    missing = call("missing")
    assert (missing.returncode, complaint(missing)) == (127, "missing: No such file or directory")
    programs.script("hangs", "exec /bin/sleep 20")
    done = call("hangs", timeout=0.2)
    assert (done.returncode, done.stderr) == (124, "no answer within 0.2 s")
    programs.script("fails", "echo warning >&2; echo fatal >&2; exit 3")
    assert complaint(call("fails")) == "fatal"
    programs.script("dumb", "exit 5")
    assert complaint(call("dumb")) == "exit status 5"


# ------------------------------------------------------------------------------------- software


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
    monkeypatch.chdir(tmp_path)
    environment.CONSTRAINTS.write_text("numpy==2.4.6\ntorch==2.13.0\nruff==0.9.0\nabsent==1.0\n# numpy==9\n")
    return versions


def test_packages_fit(installed):
    said = only(check_packages(), "packages", "ok").what
    assert re.fullmatch(r"Python 3\.\d+\.\d+; 2 dependencies are installed", said)
    installed |= {"babelscope": "0.1.0", "snakemake": "9.1.0"}  # what a report of a fault asks for
    said = only(check_packages(), "packages", "ok").what
    assert said.startswith("babelscope 0.1.0, snakemake 9.1.0, Python 3.")


def test_packages_that_differ_from_the_lock(installed):
    installed["numpy"] = "2.5.0"
    fits, differs = check_packages()
    assert (fits.level, differs.level) == ("ok", "warning")
    assert differs.what.endswith("results may differ: numpy 2.5.0 instead of 2.4.6")
    assert "pip install -c constraints.txt -e ." in differs.remedy
    environment.CONSTRAINTS.unlink()  # as around an installed wheel
    only(check_packages(), "packages", "ok")


def test_packages_that_are_missing_or_too_old(installed):
    installed["numpy"] = "1.26.0"
    del installed["torch"]
    found, _ = check_packages()
    assert (found.level, found.what) == ("problem", "numpy is 1.26.0; torch is missing")
    assert found.remedy == "pip install -c constraints.txt 'numpy>=2.1' 'torch>=2.6'"
    environment.CONSTRAINTS.unlink()
    found = only(check_packages(), "packages", "problem")
    assert found.remedy == "pip install 'numpy>=2.1' 'torch>=2.6'"


def test_packages_where_babelscope_itself_is_not_installed(installed, monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert "make env" in only(check_packages(), "packages", "problem").remedy


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
REINSTALL = "pip install --force-reinstall torch==2.13.0 --index-url https://"


def test_torch_with_and_without_gpus(torch):
    torch(gpus=[("NVIDIA H100", 80_000_000_000)] * 2, start="print('a library says hello')")
    expected = "2.13.0+cu126, for CUDA 12.6; NVIDIA H100, 80 GB; NVIDIA H100, 80 GB"
    assert only([check_torch()], "torch", "ok").what == expected
    torch(version="2.13.0+cpu", cuda=None)
    expected = "2.13.0+cpu, a build for CPUs; no GPU to be seen here"
    assert only([check_torch()], "torch", "ok").what == expected


def test_torch_for_cpus_where_jobs_go_to_gpus(torch):
    torch(version="2.13.0+cpu", cuda=None)
    found = only([check_torch(on_cluster=True)], "torch", "warning")
    assert "would not use them" in found.what
    assert found.remedy.startswith(REINSTALL)
    torch()
    only([check_torch(on_cluster=True)], "torch", "ok")


def test_torch_cannot_use_the_gpu(torch, programs, monkeypatch):
    programs.says("nvidia-smi", LISTED)
    torch(version="2.13.0+cpu", cuda=None)
    build = only([check_torch()], "torch", "problem")
    assert build.what == "2.13.0+cpu, a build for CPUs, cannot use 2 GPUs of this machine"
    assert build.remedy.startswith(REINSTALL)
    torch()
    driver = only([check_torch()], "torch", "problem")
    assert driver.remedy.startswith("nvidia-smi ")
    assert "below 12.6: update the driver" in driver.remedy
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hidden on purpose
    only([check_torch()], "torch", "ok")


def test_torch_that_cannot_be_imported(torch):
    torch(start="raise ImportError('libcudart.so.12: not found')")
    found = only([check_torch()], "torch", "problem")
    assert found.what == "cannot be imported: ImportError: libcudart.so.12: not found"
    assert found.remedy.startswith("make env")
    torch(start="import os; os.abort()")  # a driver that ends the process does not end the doctor
    assert only([check_torch()], "torch", "problem").what.endswith("exit status -6")


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


def test_study(programs):
    found = check_study(demo, concurrent=2, limit=None)
    assert only(found, "study", "ok").what == "demo: 2 models, 22 steps, 8 languages"
    assert [one.check for one in found] == ["study", "disk", "hub"]


def test_study_with_an_error():
    def wrong(*hint):
        def load():
            raise StudyError("experts.k", 0, "1 or more", *hint)

        return check_study(load, concurrent=1, limit=None)

    what = "config key `experts.k`: got 0; allowed: 1 or more"
    page = "see docs/troubleshooting.md#a-value-of-the-study"
    assert wrong("raise it") == [Diagnosis("study", "problem", what, f"raise it\n{page}")]
    assert only(wrong(), "study", "problem").remedy == page


def test_disk_has_room_for_what_is_still_to_come(programs, monkeypatch):
    usage = namedtuple("usage", "total used free")
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage(0, 0, 10_000_000))
    results = Path("results/mine")
    here = Path.cwd()
    found = only([check_disk(results, 10_000_001)], "disk", "problem")
    assert found.what == f"10 MB free in {here}; results take 10 MB more"
    assert found.remedy.startswith("mkdir -p /LARGE/DISK/results && ln -s /LARGE/DISK/results results ")
    only([check_disk(results, 10_000_000)], "disk", "ok")
    results.mkdir(parents=True)
    (results / "scores.h5").write_bytes(b"12345")
    only([check_disk(results, 10_000_005)], "disk", "ok")
    assert check_disk(results, 10_000_006).remedy.startswith("mv results /LARGE/DISK/results && ln -s ")
    assert (
        "`babelscope plan --configfile m.yaml`"
        in check_disk(results, 10_000_006, named="--configfile m.yaml").remedy
    )
    assert check_disk(results, 3).what.endswith("results take nothing more")
    assert set(asked) == {here, here / "results"}


def test_disk_behind_a_link(programs, tmp_path):
    (tmp_path / "large").mkdir()
    Path("results").symlink_to(tmp_path / "large/results")
    assert f"free in {tmp_path}/large; " in check_disk(Path("results/mine"), 1).what


def test_more_jobs_at_a_time_need_more_room(programs):
    def needed(**options) -> str:
        return only(check_study(demo, **options), "disk", "ok").what.split(";")[1]

    few = needed(concurrent=1, limit=None)
    assert needed(concurrent=50, limit=None) != few
    assert needed(concurrent=50, limit=1) != needed(concurrent=50, limit=None)


def test_checkpoints_of_the_hub(programs, monkeypatch):
    study = hub_study()
    assert only([check_hub(study)], "hub", "ok").what == "2 checkpoints not fetched yet"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = only([check_hub(study)], "hub", "warning")
    assert found.what == "2 checkpoints not fetched yet, and HF_HUB_OFFLINE is set"
    assert found.remedy.startswith("unset HF_HUB_OFFLINE; snakemake --cores 1 --until fetch_checkpoint")
    study.models["mine"].folder(1000).mkdir(parents=True)
    assert check_hub(study).what.startswith("1 checkpoint not fetched yet")
    study.models["mine"].folder(2000).mkdir(parents=True)
    assert only([check_hub(study)], "hub", "ok").what == "nothing to fetch"


# ---------------------------------------------------------------------------------------- slurm


def test_slurm_that_is_ready(programs):
    programs.slurm()
    partitions, found = check_slurm(20)
    assert only(found, "slurm", "ok").what == "answers; 3 partitions are up"
    assert len(found) == 1
    assert partitions["cpu"] == {"max_runtime": 1440, "max_mem_mb": 192000, "max_threads": 32, "max_gpu": 0}
    assert list(partitions) == ["cpu", "gpu", "long"]


@pytest.mark.parametrize("select", ["cons_res", "linear", "cons_tres"])
def test_a_cluster_that_takes_no_gpus(programs, select):
    programs.slurm(config=f"MinJobAge = 300 sec\nSelectType              = select/{select}\n")
    found = check_slurm(20)[1]
    told = [one.what for one in found if one.level == "warning"]
    assert told == (
        []
        if select == "cons_tres"
        else [f"select/{select} takes no --gpus, by which jobs that run a model ask for one"]
    )
    programs.slurm(
        "cpu*|up|1:00:00|16000|4|(null)\n", config=f"MinJobAge = 300 sec\nSelectType = select/{select}\n"
    )
    assert len(check_slurm(20)[1]) == 1  # no GPU, nothing to ask for


def test_slurm_does_not_answer(programs):
    partitions, found = check_slurm(20)
    assert partitions == {}
    assert "No such file" in only(found, "slurm", "problem").what
    programs.says("sinfo", "", status=1, error="sinfo: fatal: Could not establish a configuration source")
    found = only(check_slurm(20)[1], "slurm", "problem")
    assert found.what == "does not answer: sinfo: fatal: Could not establish a configuration source"
    assert "export SLURM_CONF=" in found.remedy


@pytest.mark.parametrize("rows", ["", "cpu*|down|1:00:00|16000|4|gpu:2\n"])
def test_no_partition_is_up(rows, programs):
    programs.slurm(rows)
    found = only(check_slurm(20)[1], "slurm", "problem")
    assert (found.what, found.remedy.split()[:2]) == ("no partition is up", ["sinfo", "-R"])


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [("(null)", 0), ("gpu:2", 2), ("gpu:a100:4(S:0-1)", 4), ("gpu:1080ti:4", 4), ("gpu:2(IDX:0,1)", 2),
     ("gpu:3g.20gb:2,mps:200", 2), ("mps:100", 0), ("gpu:a100:2(S:0,1),gpu:v100:3", 5), ("gpu", 1)],
)  # fmt: skip
def test_gpus_of_a_node(gres, gpus):
    (partition,) = read_partitions(f"x|up|infinite|1|1|{gres}").values()
    assert partition["max_gpu"] == gpus


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
    (partition,) = read_partitions(f"x|up|{limit}|1|1|(null)").values()
    assert partition["max_runtime"] == minutes


def test_squeue_does_not_work(programs):
    programs.slurm()
    programs.says("squeue", "", status=1, error="slurm_load_jobs error")
    found = only(check_slurm(20)[1], "squeue", "problem")
    assert found.what == "does not work: slurm_load_jobs error"


def test_squeue_forgets_too_early(programs):
    programs.slurm(config="MinJobAge               = 45 sec\n")
    found = only(check_slurm(20)[1], "squeue", "warning")
    assert found.what == "forgets ended jobs after 45 s (MinJobAge); to look every 20 s needs thrice that"
    assert found.remedy == "in the profile: slurm-init-seconds-before-status-checks: 15"
    programs.slurm(config="MinJobAge = 60 sec\n")
    assert len(check_slurm(20)[1]) == 1
    programs.says("scontrol", "", status=1)
    assert "cannot be read" in only(check_slurm(20)[1], "squeue", "warning").what


def test_an_outage_where_there_is_no_accounting(programs):
    programs.slurm()
    programs.says("sacct", "", status=1, error="Slurm accounting storage is disabled")
    found = only(check_slurm(20)[1], "sacct", "warning")
    assert "Snakemake waits for ever" in found.what
    assert "recover" in found.remedy
    (programs.folder / "sacct").unlink()  # then the plugin never asks it
    assert len(check_slurm(20)[1]) == 1


# -------------------------------------------------------------------------------------- profile


def of_profile(settings=PROFILE, limits=LIMITS):
    """What is wrong with a profile; nothing if it is right."""
    profile = read_profile(write_profile(settings, limits))
    return [*check_settings(profile), *check_partitions(profile, read_partitions(ROWS))]


def test_profile_that_is_right(programs, monkeypatch, tmp_path):
    assert of_profile() == []
    write_profile(folder=tmp_path / ".config/snakemake/mine")  # as Snakemake finds it
    assert read_profile("mine").described == LIMITS
    monkeypatch.chdir(ROOT)
    assert list(check_settings(read_profile("slurm"))) == []  # ours; its partitions are the site's to write


def test_profile_that_cannot_be_read(programs):
    with pytest.raises(DataError, match=r"none/config.yaml: cannot be read(.|\n)*--profile slurm"):
        read_profile("none")
    (write_profile() / "config.yaml").write_text("a: [")
    with pytest.raises(DataError, match="is no YAML"):
        read_profile("site")
    Path("site/config.yaml").write_text("- a\n- b")
    with pytest.raises(DataError, match="must hold keys and values"):
        read_profile("site")
    write_profile({**PROFILE, "slurm-partition-config": "none.yaml"})
    with pytest.raises(DataError, match=r"hint: generate-slurm-partition-config > site/none.yaml"):
        read_profile("site")
    for limits in (None, {"cpu": None}):
        with pytest.raises(DataError, match="no mapping `partitions`"):
            read_profile(write_profile(limits=limits))


@pytest.mark.parametrize(
    ("key", "value", "level", "what"),
    [
        ("executor", "local", "problem", "executor is 'local': jobs would not go to Slurm"),
        ("slurm-status-command", "sacct", "warning", "slurm-status-command is 'sacct': by sacct"),
        ("slurm-status-command", None, "warning", "slurm-status-command is None: by sacct"),
        ("slurm-pass-command-as-script", None, "problem", "slurm-pass-command-as-script is None: a"),
        ("slurm-pass-command-as-script", False, "problem", "slurm-pass-command-as-script is False: a shell"),
        ("slurm-array-jobs", "all", "problem", "slurm-array-jobs is 'all': in plugin 2.8.0"),
    ],
)
def test_settings_that_go_wrong(key, value, level, what, programs):
    found = only(of_profile({**PROFILE, key: value}), "profile", level)
    assert found.what.startswith(what)
    if key in PROFILE:
        value = yaml.safe_dump(PROFILE[key]).split("\n")[0]
        assert found.remedy == f"in site/config.yaml: {key}: {value}"
    else:
        subprocess.run(["/bin/sh", "-c", found.remedy], env={"PATH": "/usr/bin:/bin"}, check=True)
        assert list(check_settings(read_profile("site"))) == []


def test_default_profile_that_overrides_it(programs):
    Path("profiles/default").mkdir(parents=True)
    file = Path("profiles/default/config.yaml")
    file.write_text("cores: all\njobs: 4\nretries: 1\n")
    found = only(of_profile(), "profile", "problem")
    assert found.what == "profiles/default/config.yaml sets jobs, retries and wins over site"
    assert found.remedy == "move jobs, retries from there to site/config.yaml"
    shutil.copy(ROOT / file, file)
    assert of_profile() == []


def test_accounts(programs):
    settings = {**PROFILE, "default-resources": {"slurm_account": "My-Project"}}
    assert of_profile(settings) == []  # without an accounting database nobody knows
    programs.says("sacctmgr", "other\nmy-project\nother\n")
    assert of_profile(settings) == []
    programs.says("sacctmgr", "other\nthird\n")
    found = only(of_profile(settings), "profile", "problem")
    assert found.what == "slurm_account is My-Project; you may use: other, third"
    assert found.remedy == "in site/config.yaml, below default-resources: slurm_account: other"
    assert of_profile({**PROFILE, "default-resources": ["mem_mb=1500"]}) == []


def test_profile_without_partitions(programs):
    settings = {key: value for key, value in PROFILE.items() if key != "slurm-partition-config"}
    found = only(of_profile(settings), "profile", "warning")
    assert "every job goes to the default partition" in found.what
    assert found.remedy.startswith("generate-slurm-partition-config > site/partitions.yaml; in site/config")


@pytest.mark.parametrize("name", ["night", "old"])
def test_partition_that_is_not_here_or_not_up(name, programs):
    found = only(of_profile(limits={**LIMITS, name: {}}), "profile", "problem")
    assert (
        found.what == f"{name} in site/partitions.yaml is no partition that is up; these are: cpu, gpu, long"
    )
    assert found.remedy == f"sinfo -R -p {name}; generate-slurm-partition-config > site/partitions.yaml"


def test_partitions_of_another_cluster_are_its_own(programs):
    assert of_profile(limits={**LIMITS, "far_long": {"cluster": "far"}}) == []


@pytest.mark.parametrize(
    ("partition", "key", "given", "what", "set_to"),
    [
        ("cpu", "max_runtime", 1441, "1,441; the cluster gives 1,440", "max_runtime: 1440"),
        ("cpu", "max_runtime", "2d", "2,880; the cluster gives 1,440", "max_runtime: 1440"),
        ("cpu", "max_runtime", "25:00", "1,500; the cluster gives 1,440", "max_runtime: 1440"),
        ("cpu", "max_runtime", "1-01", "1,500; the cluster gives 1,440", "max_runtime: 1440"),
        ("long", "max_runtime", "soon", "'soon', no number", "leave it out"),
        ("gpu", "max_mem_mb", 256001, "256,001; the cluster gives 256,000", "max_mem_mb: 256000"),
        ("cpu", "max_mem_mb", "180G", "'180G', no number", "max_mem_mb: 192000"),
        ("gpu", "max_threads", 65, "65; the cluster gives 64", "max_threads: 64"),
        ("gpu", "max_gpu", 5, "5; the cluster gives 4", "max_gpu: 4"),
        ("cpu", "max_gpu", 1, "1; the cluster gives 0", "max_gpu: 0"),
    ],
)
def test_limits_that_the_cluster_does_not_give(partition, key, given, what, set_to, programs):
    limits = {**LIMITS, partition: {**LIMITS.get(partition, {}), key: given}}
    found = only(of_profile(limits=limits), "profile", "problem")
    assert found.what == f"{partition}: {key} is {what}"
    assert found.remedy == f"in site/partitions.yaml, below {partition}: {set_to}"


@pytest.mark.parametrize(
    "runtime", [1440, 1440.0, "1440", "1d", "24:00", "1-0", "0-24:00:00", "23.5h30m", "86400s"]
)
def test_limits_up_to_what_the_cluster_gives(runtime, programs):
    most = {"max_runtime": runtime, "max_mem_mb": 192000, "max_threads": 32}
    assert of_profile(limits={**LIMITS, "cpu": most, "long": {"max_runtime": 1e9}}) == []


def test_no_partition_of_the_profile_has_a_gpu(programs):
    found = only(of_profile(limits={"cpu": LIMITS["cpu"], "gpu": {}}), "profile", "problem")
    assert found.what.startswith("no partition in site/partitions.yaml has max_gpu")
    assert found.remedy == "in site/partitions.yaml, below gpu: max_gpu: 1"


# -------------------------------------------------------------------------------------- as a whole


def test_diagnose(torch, programs):
    torch(version="2.13.0+cpu", cuda=None)
    programs.slurm()
    found = diagnose(demo, profile=write_profile())
    order = ["packages", "torch", "study", "disk", "hub", "slurm", "profile"]
    assert list(dict.fromkeys(one.check for one in found)) == order
    assert only(found, "profile", "ok").what == "site, partitions cpu, gpu"
    assert "build for CPUs" in only(found, "torch", "warning").what
    assert [one.check for one in diagnose(demo)] == order[:5]


def test_table():
    found = [
        Diagnosis("packages", "ok", "3.11.7"),
        Diagnosis("disk", "problem", "1 GB free", "make room\nor more"),
        Diagnosis("hub", "warning", "2", "wait"),
    ]
    assert [line.rstrip() for line in diagnoses_text(found).split("\n")] == [
        "ok       packages  3.11.7",
        "problem  disk      1 GB free",
        "                   remedy: make room",
        "                   or more",
        "warning  hub       2",
        "                   remedy: wait",
        "",
        "1 problem, 1 warning",
    ]
    last = [diagnoses_text(part).split("\n")[-1] for part in (found[:1], found[::2], found[1:2])]
    assert last == ["ready", "ready, 1 warning", "1 problem"]


def test_command(torch, programs, capsys):
    """On this machine, but for Slurm and torch, which are ours."""
    torch(version="2.13.0+cpu", cuda=None)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(["--configfile", str(ROOT / "config/config.yaml")])) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^ok +study +demo: ", printed, re.MULTILINE)
    assert printed.rstrip().split("\n")[-1].startswith("ready")
    assert command.run(parser.parse_args(["--configfile", "none.yaml", "--profile", "none"])) == 1
    printed = capsys.readouterr().out
    assert re.search(r"^problem +study +none\.yaml: cannot be read", printed, re.MULTILINE)
    assert re.search(r"^problem +profile +none/config\.yaml: .*\n +remedy: ", printed, re.MULTILINE)
    assert printed.rstrip().split("\n")[-1] == "2 problems, 1 warning"
