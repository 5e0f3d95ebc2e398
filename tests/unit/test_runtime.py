"""What a job sets around its work: which freed memory glibc keeps, and how many threads there are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from babelscope.runtime import keep_compiled

# Whether a block of 8 MB comes from memory that malloc keeps, in a process of its own: there is no way back.
BLOCK = """
import ctypes, sys
from babelscope.runtime import SMALL_MODEL, job, tune_memory
libc = ctypes.CDLL(None)
if not hasattr(libc, "mallinfo2"):
    print("none")
    raise SystemExit
class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]
libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
def mapped():
    before = libc.mallinfo2().hblks
    block = libc.malloc(2**23)
    found = libc.mallinfo2().hblks - before
    libc.free(ctypes.c_void_p(block))
    return found
found = []
with job(sys.argv[1]):
    found.append(mapped())
    for size in (SMALL_MODEL + 1, SMALL_MODEL):
        tune_memory(size)
        found.append(mapped())
print(found)
"""


def test_memory_of_small_models_alone_is_kept(tmp_path):
    command = [sys.executable, "-c", BLOCK, str(tmp_path / "log.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if done.stdout.strip() == "none":
        pytest.skip("this malloc does not say which blocks it keeps")
    assert done.stdout.strip() == "[1, 1, 0]"


@pytest.mark.parametrize(
    ("writable", "told", "kept"), [(True, None, None), (False, None, "own"), (False, "x", "x")]
)
def test_what_is_compiled_is_kept_where_it_can_be_written(tmp_path, monkeypatch, writable, told, kept):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    if told:
        monkeypatch.setenv("NUMBA_CACHE_DIR", told)
    monkeypatch.setattr("os.access", lambda path, mode: writable)
    monkeypatch.chdir(tmp_path)
    keep_compiled(Path("own"))
    assert os.environ.get("NUMBA_CACHE_DIR") == (str(tmp_path / "own") if kept == "own" else kept)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
