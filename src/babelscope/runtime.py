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
from babelscope.errors import TOKENS, BabelscopeError, explained, shown

logger = logging.getLogger("babelscope")

# Of malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1

#: Largest weights, in bytes, of a model that runs in memory which is kept when it is freed.
SMALL_MODEL = 2**28

#: Log records with this attribute are also shown on the terminal: ``extra=PROGRESS``.
PROGRESS = {"progress": True}


@contextmanager
def job(log: str | Path, *, threads: int = 1, network: bool = False) -> Iterator[None]:
    """Run the body of a job: log to a file, keep to ``threads``, end errors with their reason.

    Without ``network`` the libraries of Hugging Face are told to stay offline, and get no token: a compute
    node may have no network, and no job may depend on what a hub holds today. They read that once, when they
    are imported, so modules import them in functions, never at their top.

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
        os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
        for name in TOKENS:
            os.environ.pop(name, None)
    # Read by torch when it first takes a large block: huge pages, where the system leaves that to programs.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    _limit_threads(threads)
    tune_memory(None)
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link, or another attempt may still write it
    to_file = logging.FileHandler(path, mode="x", encoding="utf-8")
    to_file.setFormatter(ShownFormatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setFormatter(ShownFormatter("%(message)s"))
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
        logger.error("%s: %s", type(error).__name__, explained(error))
        sys.exit(1)
    except BaseException:
        logger.exception("the job failed")
        raise
    finally:
        root.removeHandler(to_file)  # closed alone it would be opened once more for the next record
        to_file.close()


class ShownFormatter(logging.Formatter):
    """Logs are read in terminals and sent to others; libraries name addresses in them."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text, fit to be seen."""
        return shown(super().format(record))


def export_source(folder: Path) -> None:
    """Have the processes that are started from here import the package from ``folder``."""
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if str(folder) not in others:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *others])


def keep_compiled(folder: Path) -> None:
    """Have the processes that are started from here keep what numba compiles in ``folder``, if it cannot lie
    beside the modules, as in a checkout that is only read; by itself numba then needs a home."""
    if not os.access(Path(__file__).parent, os.W_OK):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(folder.absolute()))


def tune_memory(model_bytes: int | None) -> None:
    """Have glibc keep the memory of a small model's activations, and give that of others back at once.

    A large block that is given back is taken again by the next batch, page by page, each with a fault: a
    third of the time of training a model as small as the demo's. Blocks that are kept are broken up by small
    results between them: an extraction job with 24 layers of width 1024 came to 3.9 GB instead of 2.4. So
    only those of small models are kept.

    Args:
        model_bytes: Size of the weights of the model that runs from now on; None without a model.
    """
    keep = model_bytes is not None and model_bytes <= SMALL_MODEL
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
    if mallopt is None:
        return
    mallopt(_TRIM_THRESHOLD, 2**30 if keep else 2**22)
    # Before glibc 2.35 no threshold is above 32 MB, and a higher one is refused.
    if not mallopt(_MMAP_THRESHOLD, 2**30 if keep else 2**22):
        mallopt(_MMAP_THRESHOLD, 2**25)


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
