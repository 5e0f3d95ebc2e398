"""What ``ops/engine.py`` touches of Snakemake is there, in the versions that were tried."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import snakemake
from packaging.version import Version
from snakemake import api  # first: its modules import one another
from snakemake.settings.types import ConfigSettings, ResourceSettings, StorageSettings, WorkflowSettings
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from babelscope.ops.engine import _Bell, check_overrides, engine
from mini_study import ROOT

OLDEST, NEWEST = Version("9.12"), Version("9.27")
INTERNALS = (
    "resource_settings", "global_resources", "non_local_exec", "remote_exec", "exec_mode", "job_rate_limiter",
    "_open_jobs",
)  # fmt: skip

#: Twelve short jobs, and one that still runs when they have ended; then the timers are counted.
TIMERS = """
import threading
from babelscope.ops.engine import lift_timers

rule all:
    input: "long", "waits", expand("short/{i}", i=range(12))
rule short:
    output: touch("short/{i}")
rule long:
    output: touch("long")
    shell: "sleep 6"
rule waits:  # for a core, so the scheduler has something to look at
    input: "short/11"
    output: touch("waits")
    threads: 2

onstart:
    if config.get("mended"):
        lift_timers(workflow)

onsuccess:
    print("woken by:", type(workflow.scheduler._open_jobs).__name__)
    print("timers:", sum(isinstance(thread, threading.Timer) for thread in threading.enumerate()))
"""


def test_this_snakemake_is_one_that_was_tried():
    installed = Version(snakemake.__version__)
    newer = f"Snakemake {installed}: run tests/workflow and tests/slurm with it, then raise NEWEST here"
    assert (installed.major, installed.minor) <= (NEWEST.major, NEWEST.minor), newer
    assert installed >= OLDEST
    assert f'min_version("{OLDEST}")' in (ROOT / "Snakefile").read_text()
    assert f'"snakemake>={OLDEST}"' in (ROOT / "pyproject.toml").read_text()


def workflow(executor: str) -> api.Workflow:
    settings = ResourceSettings(
        cores=3,
        overwrite_threads={"pretrain_step": 2},
        overwrite_resources={"score_units": {}, "score_unit": {}},
    )
    found = api.Workflow(
        ConfigSettings(),
        settings,
        WorkflowSettings(),
        logger_manager=None,
        storage_settings=StorageSettings(),
    )
    found._executor_plugin = ExecutorPluginRegistry().get_plugin(executor)
    return found


def test_the_cap_on_cores_is_lifted_on_a_cluster_only():
    local = workflow("local")
    assert not engine(local).on_cluster
    assert (local.cores, local.resource_settings.cores) == (3, 3)
    cluster = workflow("slurm")
    assert engine(cluster).on_cluster
    assert cluster.resource_settings.cores is None
    assert cluster.global_resources["_cores"].value is None
    assert engine(cluster).on_cluster  # a second look does no harm


def test_overrides_are_seen():
    found = engine(workflow("local"))
    assert found.overrides == {
        "--set-threads": {"pretrain_step"},
        "--set-resources": {"score_units", "score_unit"},
    }
    check_overrides(found, ["pretrain_step", "score_units", "score_unit"])
    with pytest.raises(
        ValueError, match=r"`--set-resources`: got 'score_unit'(?s:.)*did you mean `score_units`"
    ):
        check_overrides(found, ["pretrain_step", "score_units"])


def timers(folder: Path, *args: str) -> int:
    """Timers of the scheduler that are there when all jobs have ended."""
    (folder / "Snakefile").write_text(TIMERS)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *args],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"woken by: {'_Bell' if 'mended=1' in args else 'Semaphore'}" in done.stdout
    return int(re.search(r"^timers: (\d+)$", done.stdout, re.M)[1])


def test_no_timer_is_left_of_a_job_that_has_ended(tmp_path):
    assert timers(tmp_path, "--config", "mended=1") == 0


def test_this_snakemake_still_needs_that(tmp_path):
    """If this fails, Snakemake has mended it: `lift_timers` can go."""
    assert timers(tmp_path) >= 3


def test_jobs_that_end_at_once_turn_the_loop_once():
    bell, woken = _Bell(), []

    def wait() -> None:
        for _ in range(2):
            bell.acquire()
            woken.append(len(woken))

    thread = threading.Thread(target=wait, daemon=True)
    for _ in range(5):
        bell.release()
    thread.start()
    thread.join(0.5)
    assert woken == [0]  # it was rung from the start, and five times since
    bell.release()
    thread.join(5)
    assert woken == [0, 1]


def test_a_limit_that_was_set_stays(tmp_path):
    assert timers(tmp_path, "--config", "mended=1", "--max-jobs-per-timespan", "50/1s") >= 1


def test_nothing_else_touches_them():
    files = [
        *(ROOT / "src").rglob("*.py"), *(ROOT / "workflow").rglob("*.py"), *(ROOT / "workflow").rglob("*.smk"),
        ROOT / "Snakefile",
    ]  # fmt: skip
    found = {file.name for file in files if re.search(rf"\b({'|'.join(INTERNALS)})\b", file.read_text())}
    assert found == {"engine.py"}


MODULE = """
configfile: "study.yaml"

module babelscope:
    snakefile: "{snakefile}"
    config: config

use rule * from babelscope as their_*

rule mine:
    default_target: True
    input: rules.their_all.input
    output: "mine.txt"
    shell: "touch {{output}}"
"""


def test_another_workflow_uses_it_as_a_module_without_user_and_home(mini):
    mini.write()
    (mini.folder / "Snakefile").write_text(MODULE.format(snakefile=ROOT / "Snakefile"))
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--quiet", "host", "reason"]
    environment = {
        name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")
    }
    done = subprocess.run(
        command, cwd=mini.folder, env=environment, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    assert re.search(r"^their_extract_activations +6$", said, re.M), said
    assert re.search(r"^mine +1$", said, re.M)
