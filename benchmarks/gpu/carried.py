"""Packages that a bare machine lacks, carried to it as wheels. Imports the standard library alone.

``python benchmarks/gpu/carried.py fetch`` downloads them, in the versions of constraints.txt, for another
Python than the one that runs here; :func:`use` makes of them importable what a machine lacks.
"""

from __future__ import annotations

import argparse
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
import types
import zipfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".gpu-wheels"

#: What a machine with torch, transformers, h5py, NumPy, scikit-learn and pandas may lack.
NAMES = (
    "pydantic", "pydantic_core", "annotated-types", "typing_extensions", "typing-inspection",
    "accelerate", "psutil", "numba", "llvmlite", "isal", "langcodes",
)  # fmt: skip
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux_2_12")
#: What may be carried, in bytes; a wheel that is larger than SQUEEZED is packed anew.
LIMIT, SQUEEZED = 60_000_000, 10_000_000


def fetch(folder: Path, python: str) -> None:
    """Download the wheels for a Python such as ``3.12``, on x86-64 Linux, each in one version."""
    folder.mkdir(parents=True, exist_ok=True)
    pinned = re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    versions = {_plain(name): version for name, version in pinned}
    for name in NAMES:
        version = versions[_plain(name)]
        there = [file for file in folder.glob("*.whl") if _of(file) == (_plain(name), version)]
        if there and _fits(there[0], python):
            continue
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--implementation", "cp", "--python-version", python, "--dest", str(folder)]
        command += [part for name in PLATFORMS for part in ("--platform", f"{name}_x86_64")]
        for file in folder.glob("*.whl"):
            if _of(file)[0] == _plain(name):
                file.unlink()  # one version of each
        subprocess.run([*command, f"{name}=={version}"], check=True)
    for file in folder.glob("*.whl"):
        _squeeze(file)
    size = sum(file.stat().st_size for file in folder.glob("*.whl"))
    print(f"{folder}: {size / 1e6:.0f} MB of wheels for Python {python}")
    if size > LIMIT:
        sys.exit(f"that is more than the {LIMIT / 1e6:.0f} MB that can be carried")


def _squeeze(file: Path) -> None:
    """Pack a large wheel anew with LZMA: llvmlite comes to 41 MB in place of 60."""
    with zipfile.ZipFile(file) as wheel:
        packed = all(entry.compress_type == zipfile.ZIP_LZMA for entry in wheel.infolist())
        if packed or file.stat().st_size <= SQUEEZED:
            return
        print(f"packing {file.name} anew, two minutes")
        smaller = file.with_suffix(".part")
        with zipfile.ZipFile(smaller, "w", zipfile.ZIP_LZMA) as other:
            for entry in wheel.infolist():
                other.writestr(entry.filename, wheel.read(entry))
    smaller.replace(file)


def use(folder: Path) -> tuple[list[str], Path | None]:
    """Make importable what this machine lacks, or has in a version that what it lacks cannot use.

    Args:
        folder: The wheels; may be missing.

    Returns:
        Names of the packages that were taken from there, and the folder that they were unpacked in, which
        the caller removes.
    """
    wheels = {_of(file)[0]: file for file in sorted(folder.glob("*.whl")) if _fits(file, _python())}
    taken = {name for name in wheels if _installed(name) is None}
    while True:
        needed = {name for each in taken for name in _too_old(wheels[each]) if name in wheels}
        if needed <= taken:
            break
        taken |= needed
    if not taken:
        return [], None
    target = Path(tempfile.mkdtemp(prefix="babelscope-carried-"))
    for name in sorted(taken):
        with zipfile.ZipFile(wheels[name]) as wheel:
            wheel.extractall(target)
    for place in target.glob("*.data/*lib"):  # purelib and platlib, where a wheel has them
        shutil.copytree(place, target, dirs_exist_ok=True)
    sys.path.insert(0, str(target))
    importlib.invalidate_caches()
    return sorted(taken), target


def stand_in_for_numba() -> str:
    """Where numba cannot be imported, put a module in its place under which nothing is compiled.

    Then what only imports the scorer runs, and the scorer itself gives the same numbers, far slower.

    Returns:
        Why numba cannot be imported; empty if it can.
    """
    try:
        importlib.import_module("numba")
    except Exception as error:  # a version that does not go with this NumPy says so in its own way
        module = types.ModuleType("numba")
        module.njit = lambda *_, **__: lambda function: function  # type: ignore[attr-defined]
        sys.modules["numba"] = module
        return f"{type(error).__name__}: {error}"
    return ""


def _too_old(wheel: Path) -> list[str]:
    """Needs of a wheel that are installed here in a version that it does not take."""
    from packaging.requirements import Requirement  # transformers needs it too

    with zipfile.ZipFile(wheel) as content:
        (name,) = [name for name in content.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        lines = content.read(name).decode().split("\n\n")[0].splitlines()
    needs = [Requirement(line.split(":", 1)[1]) for line in lines if line.startswith("Requires-Dist:")]
    found = []
    for need in needs:
        version = _installed(need.name)
        wanted = need.marker is None or need.marker.evaluate({"extra": ""})
        if wanted and version is not None and not need.specifier.contains(version, prereleases=True):
            found.append(_plain(need.name))
    return found


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _of(file: Path) -> tuple[str, str]:
    name, version = file.name.split("-")[:2]
    return _plain(name), version


def _fits(file: Path, python: str) -> bool:
    """Whether a wheel of x86-64 Linux is for this Python."""
    tags, abi, _ = file.stem.split("-")[-3:]
    return f"cp{python.replace('.', '')}" in tags.split(".") or "py3" in tags.split(".") or abi == "abi3"


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["fetch"])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--python", default="3.12", help="the Python of the machine with the GPU")
    given = parser.parse_args()
    fetch(given.folder, given.python)


if __name__ == "__main__":
    main()
