"""What every job needs around its work: a log, a thread limit, a clear end on a user's error."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from threadpoolctl import threadpool_limits

from babelscope import __version__
from babelscope.errors import BabelscopeError

logger = logging.getLogger("babelscope")

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h

#: Log records with this attribute are also shown on the terminal: ``extra=PROGRESS``.
PROGRESS = {"progress": True}


@contextmanager
def job(log: str | Path, *, threads: int = 1, network: bool = False) -> Iterator[None]:
    """Run the body of a job: log to a file, keep to ``threads``, end errors with their reason.

    Without ``network`` the libraries of Hugging Face are told to stay offline: a compute node may have no
    network, and no job may depend on what a hub holds today. They read that once, when they are imported, so
    modules import them in functions, never at their top.

    Records below WARNING go to the log file alone, except those marked :data:`PROGRESS`.
    A :class:`BabelscopeError` ends the process with status 1 and its message; any other exception
    is a defect and propagates with its traceback, which the log keeps too.

    Args:
        log: Path of the log file; parent folders are made.
        threads: Upper limit for the thread pools of BLAS, OpenMP, numba and torch.
        network: Whether this job may use it.
    """
    if not network:
        os.environ.update(HF_HUB_OFFLINE="1", DISABLE_SAFETENSORS_CONVERSION="1")
    _limit_threads(threads)
    _return_large_blocks()
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    to_file = logging.FileHandler(path, mode="w", encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setFormatter(logging.Formatter("%(message)s"))
    to_terminal.addFilter(
        lambda record: record.levelno >= logging.WARNING or getattr(record, "progress", False)
    )
    root = logging.getLogger()
    root.handlers[:] = [to_file, to_terminal]
    root.setLevel(logging.WARNING)
    logger.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        with threadpool_limits(limits=threads):
            yield
    except BabelscopeError as error:
        # The log holds the message; Snakemake prints a failed job's log.
        logger.error("%s: %s", type(error).__name__, error)
        sys.exit(1)
    except BaseException:
        logger.exception("the job failed")
        raise
    finally:
        to_file.close()


def export_source(folder: Path) -> None:
    """Have the processes that are started from here import the package from ``folder``."""
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if str(folder) not in others:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *others])


def _return_large_blocks() -> None:
    """Have glibc give large blocks back to the system as soon as they are freed.

    By itself it comes to keep blocks of up to 32 MB, the size of many activations, and small results between
    them break them up: a job with BLOOM-560m took 1 GB more than it held.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 2**22)


def _limit_threads(threads: int) -> None:
    """Limit pools that are not loaded yet (environment) and torch, if it is loaded."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    # numba refuses a value that changes after its start, so only a fresh process gets it.
    if "numba" not in sys.modules:
        os.environ["NUMBA_NUM_THREADS"] = str(threads)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def describe_environment() -> dict[str, str]:
    """Versions of what computes results, as far as this job's environment has it, and the platform."""
    names = ["h5py", "lingua-language-detector", "numba", "numpy", "pandas", "scikit-learn", "scipy",
             "snakemake", "tokenizers", "torch", "transformers"]  # fmt: skip
    versions = {"babelscope": __version__}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not in this job's environment"
    return {"python": platform.python_version(), **versions, "platform": platform.platform()}
