"""What a run says in the terminal: how far it is, a line per job, errors as ever; what was found in the end."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pandas as pd
import pytest
from snakemake.logging import DefaultFilter, DefaultFormatter, logger
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from babelscope.io.tables import write_table
from babelscope.ops.engine import log_all
from babelscope.ops.running import Course, last_lines, speak_briefly
from babelscope.report.findings.evaluate import claims_table, evaluate_findings
from babelscope.report.headline import headline
from synthetic_tables import synthetic_tables

JOBS = {1: ("pretrain_step", 90.0), 2: ("score_units", 10.0), 3: ("all", 0.0)}


def test_a_course_tells_what_is_left_once_it_is_known():
    clock = [0.0]
    course = Course({job: work for job, (_, work) in JOBS.items()}, now=lambda: clock[0])
    assert (course.share, course.left, str(course)) == (0, None, "  0%")
    clock[0] = 60.0
    course.finish(2)
    assert course.share == pytest.approx(0.1)
    assert course.left == pytest.approx(540)
    assert str(course) == " 10%, about 9 minutes left"
    for job in (1, 1, 3, 99):  # one that is told twice, and one of which nobody knows
        course.finish(job)
    assert (course.share, course.left) == (1, 0)


def test_nothing_to_do_is_no_course():
    assert str(Course({})) == "  0%"


@pytest.fixture
def terminal():
    """A handler as Snakemake has it, and what it shows."""
    shown = []

    class Handler(logging.Handler):
        def emit(self, record):
            shown.append(self.format(record))

    handler = Handler()
    handler.name = "DefaultStreamHandler"
    handler.setFormatter(DefaultFormatter({Quietness.REASON}, show_failed_logs=True))
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield shown
    logger.setLevel(level)
    logger.removeHandler(handler)


def workflow(quiet, verbose=False):
    jobs = [
        SimpleNamespace(jobid=job, rule=SimpleNamespace(name=name), wildcards={})
        for job, (name, _) in JOBS.items()
    ]
    return SimpleNamespace(
        output_settings=SimpleNamespace(quiet=quiet, verbose=verbose),
        dag=SimpleNamespace(needrun_jobs=lambda: iter(jobs)),
    )


def seconds(rule, _):
    return dict(JOBS.values())[rule]


def say_all(tmp_path):
    """What Snakemake says of a job that ends well, and of one that does not."""
    log = tmp_path / "job.log"
    log.write_text("ValueError: the reason\n")
    info = {"rule_msg": "score step 4 of tiny", "reason": "", "indent": False, "jobid": 2}
    logger.info("Select jobs to execute...")
    logger.info("Execute 1 jobs...", extra={"event": LogEvent.JOB_STARTED, "jobs": [2]})
    logger.info(None, extra={"event": LogEvent.JOB_INFO, **info})
    logger.info("Finished jobid: 2", extra={"event": LogEvent.JOB_FINISHED, "job_id": 2})
    logger.info(None, extra={"event": LogEvent.PROGRESS, "done": 1, "total": 3})
    logger.info(None, extra={"event": LogEvent.JOB_INFO, **info, "rule_msg": "pre-train tiny to step 4"})
    logger.info(None, extra={"event": LogEvent.JOB_INFO, **info, "rule_msg": None, "rule_name": "all"})
    failed = {"rule_name": "pretrain_step", "jobid": 1, "input": [], "output": [], "log": [str(log)],
              "conda_env": None, "shellcmd": None, "aux": {}, "rule_msg": "pre-train tiny to step 4"}  # fmt: skip
    logger.error(None, extra={"event": LogEvent.JOB_ERROR, **failed})
    logger.warning("a warning")
    logger.info("Complete log(s): run.log")


def test_a_job_is_a_line_and_errors_are_whole(terminal, tmp_path):
    speak_briefly(workflow({Quietness.HOST, Quietness.REASON}), seconds)
    say_all(tmp_path)
    assert terminal[:2] == ["[  0%] score step 4 of tiny", "[ 10%] pre-train tiny to step 4"]
    assert "Error in rule pretrain_step" in terminal[2]
    assert "ValueError: the reason" in terminal[2]
    assert terminal[3:] == ["a warning", "Complete log(s): run.log"]


def test_nothing_stands_below_the_last_lines_of_a_run_that_ends_well(terminal):
    speak_briefly(workflow({Quietness.REASON}), seconds)
    for job in JOBS:
        logger.info("Finished", extra={"event": LogEvent.JOB_FINISHED, "job_id": job})
    logger.info("Complete log(s): run.log")
    logger.info("Elapsed time: 0:00:01")
    logger.warning("a warning")
    assert terminal == ["a warning"]


@pytest.mark.parametrize("how", [{"quiet": set()}, {"quiet": {Quietness.REASON}, "verbose": True}])
def test_snakemake_speaks_as_ever_where_nobody_asks_for_less(terminal, tmp_path, how):
    speak_briefly(workflow(**how), seconds)
    logger.info(None, extra={"event": LogEvent.PROGRESS, "done": 1, "total": 3})
    assert terminal == ["1 of 3 steps (33%) done"]


@pytest.mark.parametrize("quiet", [Quietness.RULES, Quietness.ALL])
def test_the_log_file_holds_failed_jobs_however_quiet_the_terminal_is(quiet):
    file, other = logging.NullHandler(), logging.NullHandler()
    for handler in (file, other):
        handler.addFilter(DefaultFilter({quiet}, False, False, False, False))
    failed = logging.makeLogRecord({"event": LogEvent.JOB_ERROR, "levelno": logging.ERROR})
    assert not file.filter(failed)
    log_all(SimpleNamespace(logger_manager=SimpleNamespace(logfile_handlers={file: "run.log"})))
    assert file.filter(failed)
    assert not other.filter(failed)


@pytest.fixture(scope="module")
def claims():
    return claims_table(evaluate_findings(synthetic_tables())[0])


def test_the_last_lines_say_what_was_found_where_and_what_next(tmp_path, claims):
    assert last_lines(tmp_path) == []
    (tmp_path / "tables").mkdir()
    write_table(claims, tmp_path / "tables/claims.tsv")
    assert last_lines(tmp_path) == []
    (tmp_path / "report.html").touch()
    found, report, following = last_lines(tmp_path)
    assert "for the model bridged: 4 found." in found
    assert report.endswith(str(tmp_path / "report.html"))
    assert f'open_study("{tmp_path}")' in following


def changed(claims, finding, **values):
    there = (claims["finding"] == finding) & (claims["role"] == "main")
    return claims.assign(**{name: claims[name].mask(there, value) for name, value in values.items()})


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.2, 0.3, "27.0% of the neurons that best tell a concept in common (in the control CONTROL); for neurons of"
         " different concepts it is 4.7%, and the two are clearly apart."),
        (0.04, 0.3, "and the two are not told apart."),
        (0.01, 0.02, "which is clearly more."),
        (float("nan"), float("nan"), "without an interval nobody can say"),
    ],
)  # fmt: skip
def test_the_headline_says_no_more_than_the_numbers(claims, low, high, said):
    sentences = headline(changed(claims, "expert_overlap", low=low, high=high))
    assert len(sentences) == 3
    control = claims.set_index(["finding", "role"]).loc[("expert_overlap", "control"), "value"]
    assert said.replace("CONTROL", f"{control:.1%}") in sentences[1]


def test_the_headline_says_what_was_not_measured(claims):
    _, shared, unit = headline(changed(claims, "reliable_units", value=float("nan")))
    assert "at training step 2048" in shared.lower()
    assert unit == "How well a single neuron tells a concept in all languages was not measured."
    others = claims[claims["finding"] != "expert_overlap"]
    assert headline(others)[1] == "How many neurons languages have in common was not measured."
    assert headline(claims.iloc[:0]) == []
    assert headline(pd.DataFrame(columns=claims.columns)) == []


def test_the_headline_is_of_a_main_model(claims):
    controls_first = claims.sort_values("role", kind="stable")
    assert controls_first["role"].iloc[0] == "control"
    assert "model bridged" in headline(controls_first)[0]
    assert "model isolated: 1 found, 2 not found, 1 not testable here" not in headline(claims)[0]
    alone = headline(claims[claims["role"] == "control"])
    assert "model isolated" in alone[0]
    assert "(in the control" not in alone[1]
