"""Python imports this at its start if its folder is on PYTHONPATH: the tests' hand inside a job.

``BABELSCOPE_FAULT`` holds a JSON object: ``script`` (a rule), ``marker`` (a file: only the first process to make
it is struck, so a retry goes through), ``what`` and its arguments. Nothing in the package knows of it.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path


def hold(until: str) -> None:
    """Do nothing until there is a file, then go on as if nothing had been; half an hour at most."""
    deadline = time.monotonic() + 1800
    while not Path(until).exists() and time.monotonic() < deadline:
        time.sleep(0.1)


def eat(megabytes: int, seconds: float) -> None:
    """Take memory, and keep it for a while."""
    taken = bytearray(megabytes * 2**20)
    for page in range(0, len(taken), 4096):
        taken[page] = 1
    time.sleep(seconds)


def die_writing(folder: str) -> None:
    """Die as soon as this process has an unfinished file of some size."""

    def watch() -> None:
        while True:
            for file in Path(folder).rglob(f"*.tmp-*-{os.getpid()}-*"):
                if file.is_file() and file.stat().st_size > 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.0005)

    threading.Thread(target=watch, daemon=True).start()


fault = json.loads(os.environ.get("BABELSCOPE_FAULT", "{}"))
if fault and any(argument.endswith(f".{fault['script']}.py") for argument in sys.orig_argv):
    try:
        with open(fault["marker"], "x") as marker:
            marker.write(str(os.getpid()))
    except FileExistsError:
        pass
    else:
        {"hold": hold, "eat": eat, "die_writing": die_writing}[fault["what"]](**fault["with"])
