"""Writing and reading pooled units in the store, against the same bytes written and read raw.

    python benchmarks/bench_store.py

Both sides write one file under a temporary name, flush it to the disk and rename it; both read whole arrays
that the system still has in its page cache. The store also refuses what is not finite and keeps a checksum,
which it compares when an array is read.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rows import Ratio, Row, alternate, run_alone

from babelscope.capture.store import LayerSite, Provenance, UnitFile, write_units
from babelscope.io.h5 import atomic_h5

BOUND = 1.3
#: Sentences, units of each of as many sites, sentences of a block, repeats.
SIZE, SMALL = (4_096, 4_096, 6, 1_024, 5), (70, 30, 2, 32, 1)


def measure(small: bool = False) -> list[Row]:
    n, width, sites, window, repeats = SMALL if small else SIZE
    rng = np.random.default_rng(0)
    places = [(layer, "mlp_act") for layer in range(1, sites + 1)]
    values = {place: rng.standard_normal((n, width), np.float32) for place in places}
    widths = dict.fromkeys(values, width)
    names = [f"s-{row:05d}" for row in range(n)]
    provenance = Provenance(
        model="m", step=0, lang="en", weights_hash="", tokenizer_hash="", corpus_hash="", sites=("mlp_act",),
        pooling="max", dtype="float32",
    )  # fmt: skip
    last: dict[str, dict[LayerSite, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        stored, raw = Path(name, "units.h5"), Path(name, "units.raw")

        def blocks() -> Any:
            for start in range(0, n, window):
                yield start, {place: rows[start : start + window] for place, rows in values.items()}

        def write() -> None:
            with atomic_h5(stored, kind="units") as file:
                write_units(file.create_group("0/en"), provenance, names, widths, blocks())

        def write_raw() -> None:
            unfinished = raw.with_suffix(".tmp")
            with unfinished.open("wb") as file:
                for rows in values.values():
                    rows.tofile(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, raw)

        def read() -> None:
            units = UnitFile(stored, "0/en")
            last["stored"] = {place: units.read(*place) for place in widths}

        def read_raw() -> None:
            with raw.open("rb") as file:
                last["raw"] = {
                    place: np.fromfile(file, np.float32, n * width).reshape(n, width) for place in widths
                }

        written = alternate({"stored": write, "raw": write_raw}, repeats=repeats)
        given = alternate({"stored": read, "raw": read_raw}, repeats=repeats)
        for place, rows in values.items():
            if not all(np.array_equal(found[place], rows) for found in last.values()):
                raise SystemExit(f"{place} is not read as it was written")
        size = stored.stat().st_size / raw.stat().st_size
    megabytes = sum(rows.nbytes for rows in values.values()) / 1e6
    found = []
    for verb, sides in (("written", written), ("read", given)):
        ratio = Ratio.of(sides["stored"], sides["raw"])
        reached, ok = ratio.at_most(BOUND)
        rate = megabytes / sides["stored"].wall
        found.append(
            Row(
                f"HDF5 store: {megabytes:,.0f} MB of pooled units {verb}",
                "raw bytes (`tofile` and `fsync`)" if verb == "written" else "raw bytes (`fromfile`)",
                f"times as long: {ratio}",
                reached,
                f"at most {BOUND}",
                ok,
                f"Units {verb}: {sides['stored']} ({rate:,.0f} MB/s) against {sides['raw']}; the file has "
                f"{size:.3f} times the raw bytes.",
            )
        )
    return found


if __name__ == "__main__":
    run_alone(measure, __doc__)
