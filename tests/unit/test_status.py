"""The state of a study, from Snakemake's own words."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from babelscope.ops.engine import own_snakefile
from babelscope.ops.runs import record_run, recorded_runs
from babelscope.ops.stages import JobCells
from babelscope.ops.status import (
    DONE,
    FAILED,
    INTERRUPTED,
    RUNNING,
    WAITING,
    Failure,
    File,
    Progress,
    _failures,
    progress_text,
    unfinished_outputs,
)

PROBE = JobCells(
    "fit_language_probe", "tiny-seed0", (0, 4), ("0",),
    wildcards=(("model", "tiny-seed0"), ("steps", "0..4"), ("layers", "0")),
)  # fmt: skip

LOG = """\
Error in rule fit_language_probe:
    message: SLURM-job '12' failed, SLURM status is: 'FAILED'.
    jobid: 3
    input: results/mini/activations/tiny-seed0/0/en.tokens.h5
    output: results/mini/probes/tiny-seed0/0..4/0.tsv
    log: {log}, {log} (check log file(s) for error details)
    external_jobid: 12

Trying to restart job 3.
[Mon Nov 23 16:01:00 2026]
Error in rule collect_audit:
    message: None
    jobid: 4
    output: results/mini/tables/audit.tsv
    log: nowhere.log (check log file(s) for error details)

"""


def test_failures_are_read_from_the_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = Path("results/mini/logs/own.log")
    own.parent.mkdir(parents=True)
    own.write_text("\n".join(f"line {i}" for i in range(40)))
    log = tmp_path / "snakemake.log"
    log.write_text(LOG.format(log=own))
    record_run("results/mini", log)
    jobs = {"results/mini/probes/tiny-seed0/0..4/0.tsv": PROBE}
    (probe, outputs), (audit, _) = _failures(recorded_runs("results/mini")[-1], jobs, Path("results/mini"))
    assert (probe.rule, probe.slurm_job) == ("fit_language_probe", "12")
    assert probe.job.words == "model tiny-seed0, steps 0 to 4, layer 0"
    assert probe.lines == tuple(f"line {i}" for i in range(25, 40))
    assert outputs == list(jobs)
    assert (audit.rule, audit.job, audit.lines) == ("collect_audit", None, ())


def test_markers_of_unfinished_files(tmp_path):
    names = ["results/mini/a.tsv", f"results/mini/{'long' * 100}.tsv"]
    for name in names:
        code = base64.b64encode(name.encode()).decode()
        parts = [code[i : i + 250] for i in range(0, len(code), 250)]
        file = tmp_path.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    (tmp_path / "migration_underway").mkdir()
    assert unfinished_outputs(tmp_path) == set(names)
    assert unfinished_outputs(tmp_path / "gone") == set()


def test_the_table():
    def files(rule: str, *states: str, steps: tuple[int, ...] = (4,)) -> list[File]:
        job = JobCells(rule, "tiny-seed0", steps)
        return [File(f"{rule}{i}", rule, job if steps else None, state) for i, state in enumerate(states)]

    progress = Progress(
        (
            *files("pretrain_step", DONE, DONE),
            *files("extract_activations", DONE, RUNNING, WAITING),
            *files("score_units", WAITING, WAITING),
            *files("fit_language_probe", DONE, FAILED),
            *files("align_experts", INTERRUPTED),
            *files("rank_units", DONE, WAITING),
            *files("plot_figures", WAITING, steps=()),
        ),
        (),
        None,
    )
    head, row, _, beside, counts, cut = progress_text(progress, study="--configfile mine.yaml").splitlines()
    assert head.split()[:5] == ["model", "step", "model", "audit", "extract"]
    for mark in ("ok", "run 1/3", " . ", "FAILED 1/2", "cut 0/1", "1/2"):
        assert mark in row, mark
    assert beside == "beside: plot_figures ."
    assert counts == "13 files: 5 done, 1 under way, 1 failed, 1 interrupted, 5 waiting"
    assert "`babelscope recover --configfile mine.yaml`" in cut


@pytest.mark.parametrize(
    ("stage", "output"),
    [
        ("score_units", "results/mini/scores/tiny-seed0/0..4/en.h5"),
        ("extract_activations", "results/mini/scores/tiny-seed0/0..4/en.h5"),
        ("extract_activations", "results/mini/activations/tiny-seed0/0..4/en.tokens.h5"),
    ],
)
def test_export_target_of_a_failure(stage, output):
    names = (("model", "tiny-seed0"), ("steps", "0..4"), ("langs", "en"))
    job = JobCells(stage, "tiny-seed0", (0, 4), ("en",), wildcards=names)
    failure = Failure(stage, output, job, "some.log", ("why",), "7")
    text = progress_text(Progress((), (failure,), None), profile="slurm")
    assert f"FAILED {stage} (model tiny-seed0, steps 0 to 4, en), Slurm job 7" in text
    assert f"snakemake {output} --profile slurm\n" in text
    for step in (0, 4):
        assert f"snakemake results/mini/export/tiny-seed0/{step} --profile slurm" in text
    assert "    why" in text
    assert Path("some.log").name in text


def test_from_another_folder_the_workflow_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named, path = own_snakefile()
    assert named == "--snakefile"
    assert Path(path) == Path(__file__).resolve().parents[2] / "Snakefile"
    failure = Failure("collect_audit", "results/mini/tables/audit.tsv", None, "", (), "")
    text = progress_text(Progress((), (failure,), None), study="--configfile s.yaml")
    assert f"snakemake results/mini/tables/audit.tsv --snakefile {path} --configfile s.yaml" in text
    Path("Snakefile").touch()
    assert own_snakefile() == []
