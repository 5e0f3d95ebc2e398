"""Other programs, asked with a time limit: a controller may hang."""

from __future__ import annotations

import subprocess


def call(*command: str, timeout: float = 10) -> subprocess.CompletedProcess[str]:
    """Run a program for at most so many seconds.

    Returns:
        How it ended, as a shell has it: with 124 if it took longer, with 127 if it is not there.
    """
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
            timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer within {timeout:g} s")
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: {error.strerror}")


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of what a program that failed has said: the first ones are often its libraries'."""
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit status {done.returncode}"
