"""Is the software there, does it fit, and does torch see the GPUs?"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from babelscope.ops.doctor.diagnosis import OK, PROBLEM, WARNING, Diagnosis
from babelscope.ops.programs import call, complaint
from babelscope.ops.terminal import counted

#: The lock of the checkout that one works in; an installed wheel has none around it.
CONSTRAINTS = Path("constraints.txt")

_INSTALL = "make env   # without make: pip install -c constraints.txt -e ."
_TORCH = """
import json, torch
gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
gpus = [torch.cuda.get_device_properties(gpu) for gpu in gpus]
gpus = [f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB" for gpu in gpus]
print(json.dumps([torch.__version__, torch.version.cuda, gpus]))
"""


def check_packages() -> Iterator[Diagnosis]:
    """What babelscope asks for is installed and fits; in a checkout, it is also what is pinned there."""
    pinned = CONSTRAINTS.read_text(encoding="utf-8") if CONSTRAINTS.is_file() else ""
    try:
        needed = [Requirement(text) for text in metadata.requires("babelscope") or ()]
    except metadata.PackageNotFoundError:
        yield Diagnosis("packages", PROBLEM, "babelscope is not installed here", _INSTALL)
        return
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    unfit = {}
    for one in needed:
        version = _version(one.name)
        if version is None or not one.specifier.contains(version, prereleases=True):
            unfit[f"{one.name}{one.specifier}"] = f"{one.name} is {version or 'missing'}"
    if unfit:
        remedy = shlex.join(["pip", "install", *(["-c", str(CONSTRAINTS)] if pinned else []), *unfit])
        yield Diagnosis("packages", PROBLEM, "; ".join(unfit.values()), remedy)
    else:
        python = ".".join(map(str, sys.version_info[:3]))
        named = [f"{name} {version}" for name in ("babelscope", "snakemake") if (version := _version(name))]
        said = ", ".join([*named, f"Python {python}"])
        yield Diagnosis("packages", OK, f"{said}; {len(needed)} dependencies are installed")
    others = []
    for name, pin in re.findall(r"(?m)^([\w.-]+)==([^\s;#]+)", pinned):
        version = _version(name)
        if version and pin not in (version, version.partition("+")[0]):  # 2.9.0+cu128 is a build of 2.9.0
            others.append(f"{name} {version} instead of {pin}")
    if others:
        what = f"not the versions of {CONSTRAINTS}, so results may differ: {', '.join(others)}"
        yield Diagnosis("packages", WARNING, what, _INSTALL)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_torch(*, on_cluster: bool = False) -> Diagnosis:
    """Torch can use the GPUs, asked in another process: it takes seconds, and a driver can end it.

    On a cluster jobs go to other machines, with GPUs that this one may not have.
    """
    done = call(sys.executable, "-c", _TORCH, timeout=120)
    if done.returncode:
        return Diagnosis("torch", PROBLEM, f"cannot be imported: {complaint(done)}", _INSTALL)
    version, cuda, gpus = json.loads(done.stdout.splitlines()[-1])
    build = f"{version}, {f'for CUDA {cuda}' if cuda else 'a build for CPUs'}"
    index = "https://download.pytorch.org/whl/cu126"
    remedy = f"pip install --force-reinstall torch=={version.partition('+')[0]} --index-url {index}"
    if on_cluster and not cuda:
        # Such jobs do not fail: they leave the GPU idle until their time is over.
        what = f"{build}: jobs on nodes with GPUs would not use them"
        return Diagnosis("torch", WARNING, what, remedy)
    listed = call("nvidia-smi", "--list-gpus").stdout.splitlines()
    n = sum(line.startswith("GPU ") for line in listed)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if on_cluster or gpus or hidden or not n:
        return Diagnosis("torch", OK, "; ".join([build, *(gpus or ["no GPU to be seen here"])]))
    if cuda:
        remedy = f"nvidia-smi   # its CUDA version; below {cuda}: update the driver, or {remedy}"
    return Diagnosis("torch", PROBLEM, f"{build}, cannot use {counted(n, 'GPU')} of this machine", remedy)
