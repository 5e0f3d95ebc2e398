"""Pages of mapped files can be dropped, unless they were written to."""

from __future__ import annotations

import mmap
import sys

import pytest

from babelscope.models.mapped_files import _mappings, drop_pages, pages_dropped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc/self/smaps")
SIZE = 64 * mmap.PAGESIZE


def resident(name: str) -> int:
    return sum(entry[2] for entry in _mappings({name}))


@pytest.fixture
def mapped(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(bytes(range(256)) * (SIZE // 256))
    with file.open("r+b") as content:
        area = mmap.mmap(
            content.fileno(), SIZE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
    yield str(file), area
    area.close()


def test_pages_are_dropped_and_can_be_read_again(mapped):
    name, area = mapped
    before = bytes(area)
    assert resident(name) == SIZE
    assert drop_pages([name]) == SIZE
    assert resident(name) == 0
    assert bytes(area) == before


def test_pages_that_were_written_to_stay(mapped):
    name, area = mapped
    area[5:9] = b"mine"
    bytes(area)
    assert drop_pages([name]) == 0
    assert area[5:9] == b"mine"


def test_it_goes_on_while_the_body_runs(mapped, tmp_path, monkeypatch):
    monkeypatch.setattr("babelscope.models.mapped_files._SECONDS", 0.01)
    name, area = mapped
    bytes(area)
    with pages_dropped([tmp_path / "weights"]):
        for _ in range(500):
            if resident(name) == 0:
                break
        assert resident(name) == 0
