"""What a study, its files and a colleague's checkpoints may try while jobs are planned; ``tests/cases/attacks``."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import pytest
import yaml
from snakemake.common.configfile import load_configfile

from attacks import attacks
from babelscope.errors import BabelscopeError, DataError, StudyError
from babelscope.io.yaml import LARGEST, is_bounded, parse_yaml, read_mapping
from babelscope.models.dimensions import dimensions
from babelscope.models.files import find_steps, read_index, stored_type
from babelscope.settings import Name, Settings, Template
from babelscope.study.loading import load_study, read_study
from babelscope.study.settings import HubEntry, LocalEntry, StepRule
from babelscope.study.steps import step_batches
from babelscope.study.yaml import read_word_lists

CONFIG = {"model_type": "gpt2", "n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 100}


@pytest.fixture(autouse=True)
def bounded():
    """What takes too much memory ends in an error, not in a machine that swaps; nothing here takes long."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, before[1]))
    start = time.monotonic()
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
    assert time.monotonic() - start < 20


# ----------------------------------------------------------------------------------------- folders


def safetensors(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def checkpoint(folder: Path) -> None:
    folder.mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(safetensors(header, bytes(4)))
    (folder / "tokenizer.json").write_text("{}")


def attacked(folder: Path, attack: dict) -> None:
    """A whole checkpoint, but for one file."""
    checkpoint(folder)
    if attack.get("is") == "forbidden":
        folder.chmod(0)
        return
    file = folder / attack["file"]
    if file.name.endswith(".index.json"):
        (folder / "model.safetensors").unlink()
    file.unlink(missing_ok=True)
    brackets = b"[" * attack.get("deep", 0)
    if attack.get("is") == "fifo":
        os.mkfifo(file)
    elif attack.get("is") == "zero":
        file.symlink_to("/dev/zero")
    elif attack.get("is") == "sparse":
        with file.open("wb") as content:
            content.write((2**33).to_bytes(8, "little"))
            content.truncate(2**34)
    elif file.suffix == ".safetensors":
        file.write_bytes(safetensors(brackets or attack["header"].encode()))
    else:
        file.write_bytes(brackets or attack["text"].encode("latin-1"))


@attacks("checkpoints")
def test_one_broken_folder_does_not_stop_a_series(tmp_path, attack):
    if attack.get("is") == "forbidden" and os.getuid() == 0:
        pytest.skip("root may read everything")
    checkpoint(tmp_path / "1")
    attacked(tmp_path / "2", attack)
    checkpoint(tmp_path / "3")
    whole, unfinished = find_steps(str(tmp_path / "{step}"))
    assert list(whole) == [1, 3]
    assert unfinished[2]


def test_the_type_of_weights_without_a_header(tmp_path):
    checkpoint(tmp_path / "1")
    assert stored_type(tmp_path / "1") == "float32"
    (tmp_path / "1/model.safetensors").write_bytes(safetensors(b"[1]"))
    with pytest.raises(DataError, match=r"model\.safetensors: has no readable header"):
        stored_type(tmp_path / "1")


def test_an_index_names_files_beside_it(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../private"}}))
    with pytest.raises(DataError, match=r"names '\.\./private'; allowed: names of files beside it"):
        read_index(index)


# ------------------------------------------------------------------------------------------- YAML


@attacks("yaml")
def test_yaml_stands_for_no_more_than_it_says(attack):
    lines = attack.get("lines", "")
    text = attack.get("text", "") + "[" * attack.get("deep", 0) + "]" * attack.get("deep", 0)
    if lines:
        first = "a0: &a0 {k: 1}" if "<<" in lines else "a0: &a0 [1]"
        made = [lines.format(at=at, before=at - 1) for at in range(1, attack["n"])]
        text = "\n".join([first, *made])
    with pytest.raises(
        yaml.YAMLError, match="it stands for more than 1,000,000 values, or is nested too deeply"
    ):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: 'a' stands twice, first in line 1"),
        ("a:\n  b: 1\n  'b': 2\n", "line 3, column 3: 'b' stands twice, first in line 2"),
        ("a: {b: 1, c: 2, b: 3}", "line 1, column 17: 'b' stands twice, first in line 1"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands twice"),
        (
            "a: 1\nb:\n\tc: 2\n",
            "line 3, column 1: found character .*; a tab stands there: indent with spaces",
        ),
        ("a: 1\nb: [1, 2\nc: 3\n", "line 3, column "),
        ("a: 1\nb: c: 2\n", "line 2, column 5: mapping values are not allowed"),
        ("a: *b\n", "line 1, column 4: .*undefined alias.*"),
        ("a: " + "9" * 5000, "a value of it cannot be read"),
        ('{"a": ' + "9" * 5000 + "}", "a value of it cannot be read"),
        ("a: " + "b" * LARGEST, "it has more than 10,000,000"),
        ("a: !!python/object:os.system {}\n", "line 1, column 4: could not determine a constructor"),
    ],
)
def test_what_is_wrong_in_yaml_is_said_with_its_line(tmp_path, text, problem):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(DataError, match=f"a.yaml: is no YAML: {problem}"):
        read_mapping(file)


def test_merged_keys_stand_once():
    text = "a: &a {x: 1}\nb: &b {<<: *a, x: 2, y: 3}\nc: {<<: [*b, *a], y: 4}\nd: {<<: *b}"
    assert parse_yaml(text)["c"] == {"x": 2, "y": 4}
    assert parse_yaml(text)["d"] == {"x": 2, "y": 3}


@pytest.mark.parametrize(
    "text",
    [
        '{"study": "x", "seed": 1e5, "on": true, "none": null, "text": "1e5"}',
        '{\n\t"study": "x",\n\t"steps": [0, 1.0, 1E3]\n}',
        "study: x\nseed: 1e5\nno: yes\nday: 2020-01-01\ntext: '010'\n",
        "study: x\nbase: &b {a: 1}\nown: {<<: *b, c: ~}\n",
        "study: caf\u00e9\nlang: no\nhex: 0x1f\nnan: .nan\n",
    ],
)
def test_a_config_is_read_as_snakemake_reads_it(tmp_path, text):
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    assert repr(read_study(file)) == repr(dict(load_configfile(file)))


def test_a_study_runs_no_code(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("__use_yte__: true\nstudy: ?open('x')\n")
    with pytest.raises(DataError, match="asks Snakemake to run code in it"):
        read_study(file)


def test_honest_aliases_are_read():
    found = parse_yaml("a: &a {b: [1, 2]}\nc: [*a, *a]\nd: {<<: *a, e: 3}")
    assert found["d"] == {"b": [1, 2], "e": 3}
    assert is_bounded(found)


def test_a_study_of_aliases_is_refused_however_it_was_read():
    """Snakemake reads the file itself: we get what it stands for."""
    bomb: list = [1]
    for _ in range(30):
        bomb = [bomb, bomb, bomb]
    with pytest.raises(StudyError, match="its aliases stand for more than it says"):
        load_study({"study": "x", "languages": bomb})


# ------------------------------------------------------------------------------------ counts, widths


@pytest.mark.parametrize("rule", [{"every": 1, "until": 10**12}, {"every": 7, "until": 10**18}])
def test_a_rule_gives_no_more_steps_than_there_can_be(rule):
    with pytest.raises(StudyError, match=r"config key `m\.steps`: got '.* steps'; allowed: 100,000 or fewer"):
        step_batches(StepRule(**rule), "m.steps")


def test_a_long_list_of_steps_is_read_in_time():
    assert len(step_batches(tuple(range(100_000)), "m.steps")) == 100_000
    with pytest.raises(StudyError, match="100,000 or fewer"):
        step_batches(tuple(range(100_001)), "m.steps")


@pytest.mark.parametrize("name", ["n_layer", "n_embd", "n_head", "n_inner", "vocab_size"])
def test_sizes_of_a_config_are_those_of_a_model(name):
    with pytest.raises(
        StudyError, match=rf"architecture_config\.{name}`: got 1000000000; allowed: .* or less"
    ):
        dimensions({**CONFIG, name: 10**9})


@attacks("templates")
def test_a_template_has_fields_of_little_width(attack):
    class Own(Settings):
        path: Template

    with pytest.raises(StudyError, match=r"config key `path`: .*with a width up to 99"):
        Own(path=attack["template"])
    with pytest.raises(BabelscopeError, match="with a width up to 99"):
        LocalEntry(source="local", steps="all", path=attack["template"])
    with pytest.raises(BabelscopeError, match="with a width up to 99"):
        HubEntry(source="hub", steps=[1], repo="a/b", revision=attack["template"])


@pytest.mark.parametrize(
    "template", ["{step}", "step{step:07d}", "{data}/{lang}.txt", "{step:4d}", "a{{b}}", "{step:07}"]
)
def test_honest_templates(template):
    assert LocalEntry(source="local", steps="all", path=template).path == template


# ------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize("name", ["a\n", "a\n\n", "\na", "a/b", "..", "-a", "a b", "a\0"])
def test_a_name_is_part_of_paths(tmp_path, name):
    class Own(Settings):
        name: Name

    with pytest.raises(StudyError):
        Own(name=name)
    lists = tmp_path / "words.yaml"
    lists.write_text(yaml.safe_dump({name: ["x"]}))
    with pytest.raises(DataError, match="is no name of a concept"):
        read_word_lists(str(lists), "en")


def test_a_study_does_not_say_where_its_results_are():
    with pytest.raises(StudyError, match="config key `pathvars`"):
        load_study({"pathvars": {"results": "/home/me"}, "study": "x"})


@pytest.mark.parametrize("kind", [["gpt2"], {"a": 1}, None, 1])
def test_a_model_type_that_is_no_text(kind):
    with pytest.raises(StudyError, match="config key `architecture`"):
        dimensions({**CONFIG, "model_type": kind})
