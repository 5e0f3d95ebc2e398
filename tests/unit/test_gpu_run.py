"""The run on a GPU, without one: it needs what a bare machine has, and its parts cannot harm each other."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks" / "gpu"))

import cards  # noqa: E402
import carried  # noqa: E402
import checks  # noqa: E402
import figures  # noqa: E402
import made_up  # noqa: E402
from harness import Options, Part, Skipped, run_part  # noqa: E402

from babelscope.analysis.forcing import UnitSet, force_units  # noqa: E402
from babelscope.capture import pooling  # noqa: E402
from babelscope.capture.inputs import encode_sentences, make_batches  # noqa: E402
from babelscope.models.hooks import site_modules  # noqa: E402
from tiny_models import SENTENCES, tiny_loaded  # noqa: E402

#: What the machine has, and nothing else but what these need.
THERE = ("torch", "transformers", "h5py", "numpy", "scikit-learn", "pandas")
HIDE = """
import sys
from importlib.machinery import PathFinder

class Seen(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in {hidden!r} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Seen
"""


def needs(names) -> set[str]:
    """Distributions that these need, and these."""
    found: set[str] = set()
    waiting = [carried._plain(name) for name in names]
    while waiting:
        name = waiting.pop()
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            waiting += [
                carried._plain(re.split(r"[^\w.-]", line)[0]) for line in lines if "extra ==" not in line
            ]
    return found


def run(tmp_path: Path, *arguments: str, also_hidden: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """The run in a process that sees what a bare machine has, and what is carried there."""
    seen = needs([*THERE, *carried.NAMES])
    hidden = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not seen & {carried._plain(owner) for owner in owners}
        and module not in ("babelscope", "pip", "setuptools", "pkg_resources", "_distutils_hack")
    }
    assert {"snakemake", "pyarrow", "tabulate", "matplotlib", "pytest"} <= hidden
    folder = tmp_path / "hidden"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDE.format(hidden=sorted(hidden | {*also_hidden})))
    command = [sys.executable, str(ROOT / "benchmarks/gpu/run.py"), "--device", "cpu", "--small"]
    command += ["--wheels", str(tmp_path / "none"), "--scratch", str(tmp_path), *arguments]
    surroundings = {**os.environ, "PYTHONPATH": str(folder), "OUT": str(tmp_path / "out")}
    return subprocess.run(command, capture_output=True, text=True, env=surroundings, cwd=tmp_path)


def test_all_of_it_runs_without_a_gpu_on_a_bare_machine(tmp_path):
    done = run(tmp_path)
    log = tmp_path / "out" / "log.txt"
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")
    found = json.loads((tmp_path / "out" / "figures.json").read_text())
    statuses = {part["part"]: part["status"] for part in found["parts"]}
    assert statuses.pop("spread") == "skipped"
    assert len(statuses) == 11
    assert set(statuses.values()) == {"done"}
    n_checks = sum(line["kind"] == "check" for part in found["parts"] for line in part["found"])
    assert n_checks > 30
    page = (tmp_path / "out" / "gpu.md").read_text()
    assert "No GPU has been used" in page
    assert "extraction with scoring in its stream, over the bare pass" in page
    assert "generation, 50 units forced" in done.stdout.rstrip().splitlines()[-1]  # a short table comes last
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["figures.json", "gpu.md", "log.txt"]
    assert not list(tmp_path.glob("babelscope-gpu-*"))


def test_without_numba_the_scorer_is_checked_on_few_units_and_the_run_says_so(tmp_path):
    done = run(tmp_path, "--only", "scoring", also_hidden=("numba", "llvmlite"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "numba is missing" in done.stdout
    assert "not compiled" in (tmp_path / "out" / "gpu.md").read_text()


def test_a_device_that_is_not_there_is_named_and_nothing_else_runs(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = run(tmp_path, "--device", "cuda", "--page", str(tmp_path / "page.md"))
    assert done.returncode == 1
    assert "make gpu DEVICE=cpu SMALL=1" in done.stdout
    assert done.stdout.count("not run") == 2 * 11


def fine(report, options):
    report.check("small", 1.0, 2.0)
    report.figure("speed", 3.0, "m/s")


def wrong(report, options):
    report.check("large", 3.0, 2.0)
    report.check("not a number", float("nan"), 2.0)
    report.holds("true", True)


def broken(report, options):
    report.figure("before", 1)
    raise ValueError("no such thing")


def killed(report, options):
    report.figure("before", 1)
    os.kill(os.getpid(), signal.SIGKILL)


def endless(report, options):
    report.figure("before", 1)
    while True:
        time.sleep(1)


def skipped(report, options):
    raise Skipped("not here")


@pytest.mark.parametrize(
    ("work", "status", "reason", "is_fine", "n_found"),
    [
        (fine, "done", "", True, 2),
        (wrong, "done", "", False, 3),
        (broken, "failed", "ValueError: no such thing", False, 2),
        (killed, "failed", "the process ended with -9", False, 1),
        (endless, "out of time", "stopped after 2 s", False, 1),
        (skipped, "skipped", "not here", True, 1),
    ],
)
def test_a_part_ends_as_it_ends_and_keeps_what_it_found(tmp_path, work, status, reason, is_fine, n_found):
    options = Options("cpu", True, 1, tmp_path)
    outcome = run_part(Part("part", work, 2), options, seconds=2, folder=tmp_path, fresh=False)
    assert (outcome.status, outcome.reason, outcome.is_fine) == (status, reason, is_fine)
    assert len(outcome.found) == n_found
    if work is broken:
        assert "Traceback" in (tmp_path / "part.log").read_text()


def test_a_part_in_a_fresh_interpreter(tmp_path):
    options = Options("cpu", True, 1, tmp_path)
    outcome = run_part(Part("card", cards.measure_card, 60), options, seconds=60, folder=tmp_path, fresh=True)
    assert outcome.status == "done"
    assert any(line["name"] == "matrix product" for line in outcome.found)


def test_the_sort_on_the_device_gives_scikit_learns_average_precision():
    rng = np.random.default_rng(0)
    values_NU = rng.normal(size=(60, 7)).astype(np.float32)
    values_NU[:, 3:] = values_NU[:, 3:].round(1)
    values_NU[:, 6] = 0
    labels_NC = made_up.labels(60, 3)
    found_CU = checks.torch_average_precision(
        torch.from_numpy(values_NU), torch.from_numpy(labels_NC.astype(np.int64)), block=4
    )
    known = [[average_precision_score(c, u) for u in values_NU.T] for c in labels_NC.T]
    assert np.abs(found_CU.numpy() - known).max() < 1e-12


@pytest.mark.parametrize("family", ["bloom", "xglm"])
def test_operations_are_those_that_torch_counts(family, tmp_path):
    from torch.utils.flop_counter import FlopCounterMode

    config = checks._config(family, Options("cpu", True, 1, tmp_path))
    model = made_up.model(config, device="cpu", dtype=torch.float32)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.base_model(input_ids=torch.arange(4, 21)[None], use_cache=False)
    counted = counter.get_total_flops()
    assert figures.forward_flops(model.config.to_dict(), [17]) == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H20", 148e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA RTX 9999", None),
    ],
)
def test_the_peak_is_that_of_the_card(name, peak):
    assert cards.datasheet_peak(name) == peak


def test_a_layer_that_lies_on_another_device_is_pooled_and_forced_there(monkeypatch):
    """``device: spread`` over two GPUs; here the other device is torch's meta device, which has no values."""
    monkeypatch.setattr(pooling, "_MAX_SPANS", 2)  # so that rows of other lengths are masked
    monkeypatch.setattr(pooling, "forward", lambda *_: None)
    loaded = tiny_loaded("xglm")
    rows = encode_sentences(loaded, SENTENCES, max_length=20, where="sentences").rows
    (batch,) = make_batches(loaded, rows, batch_size=len(rows))
    for kind in ("max", "mean", "last"):
        recorder = pooling.Recorder(loaded, ("mlp_act",), kind)
        recorder.run(batch, means=True, tokens=(np.array([0, 1]), np.array([1, 1])))
        for _, watch in recorder.watchers():
            watch(torch.zeros(*batch.mask_BS.shape, 16, device="meta"))
        assert {values.device.type for values in recorder._results.values()} == {"meta"}
        assert {values.device.type for values in recorder._states.values()} == {"meta"}
    with force_units(loaded.model, [UnitSet([1], ["mlp_out"], [2], [1.0])]):
        ((module, *_),) = site_modules(loaded.model, "mlp_out", 1)
        (hook,) = module._forward_hooks.values()
        assert hook(module, (), torch.zeros(1, 3, 16, device="meta")).device.type == "meta"


def wheel(folder: Path, name: str, version: str, *, needs: str = "", tags: str = "py3-none-any") -> None:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-{tags}.whl", "w", zipfile.ZIP_LZMA) as file:
        file.writestr(f"{name}/__init__.py", f"version = {version!r}\n")
        need = f"Requires-Dist: {needs}\n" if needs else ""
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{need}\nRequires-Dist: nonsense\n"
        file.writestr(f"{name}-{version}.dist-info/METADATA", text)


def test_what_is_missing_is_taken_from_the_wheels(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    wheel(tmp_path, "carried_first", "1.0", needs="carried-second==2.0")
    wheel(tmp_path, "carried_second", "2.0")
    wheel(tmp_path, "carried_other", "1.0", tags="cp27-cp27m-linux_x86_64")
    wheel(tmp_path, "packaging", "99.0")  # is installed, and nobody asks for another version
    taken, folder = carried.use(tmp_path)
    assert taken == ["carried-first", "carried-second"]
    assert folder is not None
    assert sys.path[0] == str(folder)
    assert sorted(path.name for path in folder.glob("carried_*") if "." not in path.name) == [
        "carried_first",
        "carried_second",
    ]
    assert carried.use(tmp_path / "none") == ([], None)


def test_what_is_there_but_too_old_for_the_rest_is_taken_too(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    wheel(tmp_path, "carried_third", "1.0", needs="packaging>=99")
    wheel(tmp_path, "packaging", "99.0")
    assert carried.use(tmp_path)[0] == ["carried-third", "packaging"]


def test_every_carried_package_has_one_version():
    pinned = (ROOT / "constraints.txt").read_text()
    names = {carried._plain(name) for name in re.findall(r"^(\S+)==", pinned, re.M)}
    assert {carried._plain(name) for name in carried.NAMES} <= names
