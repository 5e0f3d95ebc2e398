"""What a card can do: by its datasheet where it is known, and measured."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from harness import Options, Report

#: Dense FLOP/s in bfloat16 by the makers' datasheets; the first name that a card's holds counts.
PEAKS = {
    "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "H200 NVL": 836e12, "H200": 989e12,
    "H20": 148e12, "H800": 989e12, "GH200": 989e12, "B200": 2250e12, "B100": 1750e12,
    "A100": 312e12, "A800": 312e12, "A30": 165e12, "A40": 150e12, "A10": 125e12,
    "L40S": 362e12, "L40": 181e12, "L4": 121e12, "RTX 6000 Ada": 364e12, "4090": 165e12, "3090": 71e12,
}  # fmt: skip


def datasheet_peak(name: str) -> float | None:
    """FLOP/s of a card in 16 bits; None if it is not in the table."""
    return next((peak for part, peak in PEAKS.items() if part.lower() in name.lower().split("mig")[0]), None)


def synchronize(device: str) -> None:
    """Wait until the device has done what was asked of it."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], object], device: str, *, repeats: int = 3, warm: int = 1) -> list[float]:
    """Seconds of each repeat, after some that are not counted."""
    found = []
    for number in range(warm + repeats):
        synchronize(device)
        started = time.perf_counter()
        work()
        synchronize(device)
        if number >= warm:
            found.append(time.perf_counter() - started)
    return found


def median_of(work: Callable[[], object], device: str, *, repeats: int = 3, warm: int = 1) -> float:
    """The median of :func:`seconds_of`."""
    return statistics.median(seconds_of(work, device, repeats=repeats, warm=warm))


def cpu_name() -> str:
    """The processor, as the kernel names it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def measure_card(report: Report, options: Options) -> None:
    """Name, memory and rates of the device; the first part, since all others ask for them."""
    cuda = options.device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise RuntimeError("torch shows no CUDA device here; without one: make gpu DEVICE=cpu SMALL=1")
    if cuda:
        properties = torch.cuda.get_device_properties(0)
        name, memory = properties.name, properties.total_memory
        report.detail("capability", f"{properties.major}.{properties.minor}")
        report.detail("n_devices", torch.cuda.device_count())
        report.detail("cuda", torch.version.cuda)
    else:
        name = cpu_name()
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    report.detail("name", name)
    report.detail("memory", memory)
    peak = datasheet_peak(name) if cuda else None
    report.detail("peak", peak)
    dtype = torch.bfloat16 if cuda else torch.float32
    n = 8192 if cuda else 512
    a, b = (torch.randn(n, n, device=options.device, dtype=dtype) for _ in range(2))
    took = median_of(lambda: a @ b, options.device, repeats=10, warm=3)
    rate = 2 * n**3 / took
    report.detail("matmul", rate)
    what = f"{n} x {n} x {n} in {str(dtype).removeprefix('torch.')}, random numbers"
    report.figure("matrix product", rate / 1e12, "TFLOP/s", what)
    report.figure("peak by the datasheet", peak / 1e12 if peak else None, "TFLOP/s", "dense, 16 bits")
    if cuda:
        size = 2**30
        here = torch.empty(size, dtype=torch.uint8, device="cuda")
        there = torch.empty_like(here)
        took = median_of(lambda: there.copy_(here), "cuda")
        report.figure("copy on the card", 2 * size / took / 1e9, "GB/s", "read and written")
        del there
        for kind, pinned in (("pageable", False), ("pinned", True)):
            host = torch.empty(size // 4, dtype=torch.uint8, pin_memory=pinned)
            part = here[: size // 4]
            host.copy_(part)
            took = median_of(lambda host=host, part=part: host.copy_(part), "cuda")
            report.figure(f"copy to {kind} memory of the host", size / 4 / took / 1e9, "GB/s")
    content = os.urandom(2**20) * (256 if cuda else 8)
    file = options.scratch / "written"

    def write() -> None:
        with file.open("wb") as target:
            target.write(content)

    took = median_of(write, options.device)
    file.unlink()
    report.figure(
        "written to the scratch folder", len(content) / took / 1e9, "GB/s", "as the system takes it"
    )
