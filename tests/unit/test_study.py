"""A wrong config is refused with the key, the value, what is allowed and a hint."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from babelscope.errors import BabelscopeError, DataError, StudyError
from babelscope.study.checks import check_text
from babelscope.study.loading import load_study

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"


def text_config(folder: Path) -> dict:
    for lang in ("en", "de"):
        for name in ("train", "dev"):
            path = folder / name / f"{lang}.txt"
            path.parent.mkdir(exist_ok=True)
            lines = [f"{lang} {'dog' if i % 3 == 0 else 'sea'} {i}" for i in range(30)]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "words.yaml").write_text("dog: [dog]\nsea: [sea]\n")
    return {
        "study": "mine",
        "data": str(folder),
        "languages": ["en", "de"],
        "corpora": {"web": {"source": "text", "path": "{data}/train/{lang}.txt"}},
        "tokenizers": {"pieces": {"corpus": "web", "vocabulary_size": 400}},
        "models": {
            "tiny": {
                "source": "pretrain",
                "corpus": "web",
                "tokenizer": "pieces",
                "architecture": "xglm",
                "architecture_config": {
                    "d_model": 16,
                    "num_layers": 2,
                    "attention_heads": 2,
                    "ffn_dim": 32,
                },
                "training": {"sequence_length": 16, "batch_size": 4, "learning_rate": 0.01},
                "steps": [0, 4, 8],
            }
        },
        "sentences": {"source": "parallel", "path": "{data}/dev/{lang}.txt"},
        "concepts": {
            "source": "words",
            "label_language": "en",
            "lists": str(folder / "words.yaml"),
            "min_positive": 8,
        },
        "extraction": {"sites": ["mlp_act"], "max_length": 32},
        "experts": {"k": 5, "min_languages": 2},
        "generation": {"k": 3, "steps": [8]},
    }


@pytest.fixture
def config(tmp_path):
    return text_config(tmp_path)


def change(config, key, value):
    """Set a dotted key; None removes it."""
    changed = copy.deepcopy(config)
    *path, last = key.split(".")
    at = changed
    for part in path:
        at = at.setdefault(part, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    return changed


def test_defaults_are_filled_in(config):
    study = load_study(config)
    check_text(study)
    assert study.seed == 0
    assert study.probes.test_share == 0.3
    assert study.corpora["web"].languages == ("en", "de")
    assert list(study.models) == ["tiny-seed0"]
    model = study.models["tiny-seed0"]
    assert model.steps == (0, 4, 8)
    assert model.training.clip_norm == 1
    assert model.tokens_per_step == 64
    assert study.n_units("tiny-seed0") == 64
    assert study.models["tiny-seed0"].n_layers == 2
    assert study.concept_ids == ("dog", "sea")
    assert study.generation.languages == ("en", "de")
    assert study.config["experts"]["permutations"] == 500


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("langauges", ["en"], r"`langauges`.*keys here are study.*did you mean `languages`"),
        ("experts.kk", 3, r"`experts.kk`: got 3; allowed: keys here are k, share"),
        ("models.tiny.traning", {}, r"`models.tiny.traning`.*did you mean `training`"),
        ("study", None, r"`study`: got None; allowed: a value: it is required"),
        ("study", "a/b", r"`study`: got 'a/b'; allowed: letters, digits, - and _"),
        ("languages", ["en", "d e"], r"`languages\[1\]`: got 'd e'; allowed: letters"),
        ("languages", ["en", "en"], r"`languages`.*each item once"),
        ("languages", "en", r"`languages`: got 'en'; allowed: a list"),
        ("seed", "one", r"`seed`: got 'one'; allowed: a whole number"),
        ("seed", -1, r"`seed`: got -1; allowed: 0 or more"),
        ("probes.test_share", 1.5, r"`probes.test_share`: got 1.5; allowed: less than 1"),
        ("extraction.poolings", ["maximum"], r"`extraction.poolings\[0\]`: got 'maximum'; allowed: max, mean"),
        ("extraction.poolings", ["max", "max"], r"`extraction.poolings`: got 'max'; allowed: each item once"),
        ("extraction.pooling", "mean", r"`extraction.pooling`: got 'mean'.*hint: write poolings: \[mean\]"),
        ("extraction.sites", ["mlp_out", "mlp_outt"], r"sites\[1\]`: got 'mlp_outt'.*did you mean `mlp_out`"),
        ("models.tiny.architecture", "lama", r"architecture`: got 'lama'; allowed: xglm.*did you mean `llama`"),
        ("models.tiny.training.learning_rate", 0, r"learning_rate`: got 0; allowed: more than 0"),
        ("models.tiny.training.batch_size", None, r"training.batch_size`: got None; allowed: a value: it is required"),
        ("models.tiny.steps", [0, 8, 4], r"`models.tiny.steps`: got \[8, 4\]; allowed: steps that increase"),
        ("models.tiny.steps", [[0, 8], [8, 16]], r"`models.tiny.steps`: got 8; allowed: each step once"),
        ("models.tiny.steps", [[8, 4]], r"steps that increase"),
        ("models.tiny.steps", [0, "four"], r"`models.tiny.steps\[1\]`: got 'four'"),
        ("models.tiny.steps", {"every": 5}, r"steps.until`: got None.*`every` needs it"),
        ("models.tiny.corpus", "weeb", r"`models.tiny.corpus`: got 'weeb'; allowed: web\nhint: did you mean `web`"),
        ("models.tiny.tokenizer", "t", r"`models.tiny.tokenizer`: got 't'; allowed: pieces"),
        ("models.tiny.corpus", None, r"`models.tiny.corpus`: got None; allowed: a value: source pretrain needs it"),
        ("models.tiny.architecture_config.vocab_size", 9, r"architecture_config.vocab_size`.*the tokenizer"),
        ("models.tiny.training.schedule", "linear", r"decay_steps`: got None; allowed: a value: schedule linear"),
        ("models.tiny.training.accumulation", 3, r"accumulation`: got 3; allowed: a divisor of batch_size, 4"),
        ("models.tiny.training.sequence_length", 4096, r"sequence_length`: got 4096; allowed: at most the model's 2048"),
        ("models.a b", {"source": "local"}, r"allowed: letters, digits"),
        ("experts.k", 65, r"`experts.k`: got 65; allowed: at most the 64 units of model tiny"),
        ("experts.share", 0.1, r"`experts`: got .*; allowed: exactly one of k, share"),
        ("experts.min_languages", 3, r"`experts.min_languages`: got 3; allowed: at most the number of languages, 2"),
        ("generation.k", 65, r"`generation.k`: got 65; allowed: at most the 64 units of a concept that are kept"),
        ("generation.steps", [5], r"`generation.steps`: got 5; allowed: steps of a model: \[0, 4, 8\]"),
        ("generation.languages", ["fr"], r"`generation.languages`: got 'fr'; allowed: en, de"),
        ("generation.concepts", ["cat"], r"`generation.concepts`: got 'cat'; allowed: dog, sea"),
        ("probes.tokens_per_language", 9999, r"at most extraction.tokens_per_language, 1500"),
        ("sentences", {"source": "grammar"}, r"`concepts.source`: got 'words'; allowed: sentences grammar with concepts grammar"),
        ("sentences.source", "grammar", r"`sentences.path`.*allowed: nothing: it is for source parallel"),
        ("sentences.path", "dev.txt", r"`sentences.path`: got 'dev.txt'; allowed: a path with {lang}"),
        ("sentences.path", "{root}/{lang}", r"`sentences.path`.*'root' is not one of them"),
        ("concepts.ids", ["dog", "cat"], r"`concepts.ids`: got 'cat'; allowed: dog, sea"),
        ("concepts.lists", "nowhere.yaml", r"`concepts.lists`: got 'nowhere.yaml'; allowed: a YAML file that exists"),
        ("corpora.web.source", "grammar", r"`corpora.web.documents`: got None"),
        ("report.figure_formats", ["png"], r"`report.figure_formats`.*a list with svg"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused(config, key, value, message):
    with pytest.raises(StudyError) as caught:
        load_study(change(config, key, value))
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_grammar_languages_are_the_grammars():
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config["corpora"]["bridged"]["languages"].append("sw")
    with pytest.raises(
        StudyError,
        match=r"corpora.bridged.languages`: got 'sw'; allowed: languages of the grammar: en",
    ):
        load_study(config)
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config["corpora"]["bridged"]["weights"] = {"en": 0.9, "es": 0.2}
    with pytest.raises(StudyError, match=r"corpora.bridged.weights`: got 1.1"):
        load_study(config)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "train/de.txt",
            None,
            r"`corpora.web.path`: got '{data}/train/{lang}.txt'; allowed: files that exist.*train/de.txt \(de\)",
        ),
        ("train/de.txt", b"", r"train/de.txt: language de has no text"),
        (
            "train/de.txt",
            b"gut\nschlecht \xff\n",
            r"train/de.txt: is not UTF-8: byte 0xff at offset 13",
        ),
        ("dev/de.txt", None, r"`sentences.path`: got .*dev/de.txt \(de\).*--config data=PATH"),
        ("dev/de.txt", b"\n".join([b"x"] * 30) + b"\n", r"dev/de.txt: line 2 repeats line 1: 'x'"),
        (
            "dev/de.txt",
            b"a\n\nb\n" + b"\n".join(b"%d" % i for i in range(27)),
            r"dev/de.txt: line 2 is empty",
        ),
        (
            "dev/de.txt",
            b"a\nb\n",
            r"dev/(de|en).txt: has \d+ lines, most of the other languages have",
        ),
        ("words.yaml", b"dog: dog\n", r"words.yaml: is no mapping of concepts to lists of words"),
        (
            "words.yaml",
            b"dog: [dog]\ncat: [cat, cats]\n",
            r"cat in en: 0 positive sentences, 8 needed",
        ),
    ],
)
def test_faulty_text_is_refused_before_any_job(config, tmp_path, file, content, message):
    path = tmp_path / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(BabelscopeError) as caught:
        check_text(load_study(config))
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_all_missing_files_are_listed(config, tmp_path):
    for file in ("train/en.txt", "train/de.txt", "dev/de.txt"):
        (tmp_path / file).unlink()
    with pytest.raises(
        StudyError, match=r"train/en.txt \(en\), .*train/de.txt \(de\); of `sentences.path`: .*dev/de.txt"
    ):
        check_text(load_study(config))


def test_steps_by_rule_and_by_batch(config):
    rule = {"powers_of_two": [1, 8], "every": 5, "until": 12, "also": [0]}
    study = load_study(change(change(config, "models.tiny.steps", rule), "generation.steps", [8]))
    assert study.models["tiny-seed0"].steps == (0, 1, 2, 4, 5, 8, 10)
    batched = change(config, "models.tiny.steps", [[0, 4, 8], 6, [16]])
    with pytest.raises(StudyError, match=r"steps that increase") as caught:
        load_study(change(config, "models.tiny.steps", [[0, 4, 8], 6, [6]]))
    assert caught.value.key == "models.tiny.steps"
    study = load_study(batched)
    model = study.models["tiny-seed0"]
    assert model.batches == ((0, 4, 8), (6,), (16,))
    assert model.steps == (0, 4, 6, 8, 16)
    assert study.previous_step("tiny-seed0", 4) is None
    assert study.previous_step("tiny-seed0", 6) == 4
    assert study.previous_step("tiny-seed0", 16) == 8


def local_config(config, folder):
    changed = change(
        config, "models", {"run": {"source": "local", "path": "{data}/run/{step}", "steps": [1, 2]}}
    )
    changed["generation"]["steps"] = [2]
    for step in (1, 2):
        target = folder / "run" / str(step)
        target.mkdir(parents=True)
        (target / "config.json").write_text('{"model_type": "gpt2", "n_embd": 8, "n_layer": 1}')
        save_file({"weight": np.zeros(4, dtype=np.float32)}, target / "model.safetensors")
        (target / "tokenizer.json").write_text("{}")
    return changed


def test_local_folders_are_looked_into(config, tmp_path):
    changed = local_config(config, tmp_path)
    study = load_study(changed)
    assert study.n_units("run") == 32
    (tmp_path / "run/2/tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"run/2: has no tokenizer"):
        load_study(changed)
    (tmp_path / "run/2/model.safetensors").unlink()
    with pytest.raises(DataError, match=r"run/2: is not whole: it has no weights"):
        load_study(changed)
    changed["models"]["run"]["steps"] = [1, 2, 3]
    changed["models"]["run"]["tokenizer_path"] = "{data}/run/1"
    save_file({"weight": np.zeros(4, dtype=np.float32)}, tmp_path / "run/2/model.safetensors")
    with pytest.raises(StudyError, match=r"`models.run.path`: got '.*run/3'; allowed: a folder that exists"):
        load_study(changed)
    changed["models"]["run"]["path"] = "{data}/run/1"
    with pytest.raises(StudyError, match=r"a path with {step}"):
        load_study(changed)


def test_a_study_can_extend_another(config, tmp_path, monkeypatch):
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump(config))
    own = {"extends": str(base), "study": "other", "experts": {"k": 7}, "languages": ["de", "en"]}
    study = load_study(own)
    assert (study.name, study.experts.k, study.experts.min_languages) == ("other", 7, 2)
    assert study.languages == ("de", "en")
    with pytest.raises(StudyError, match=r"`extends`: got 'no.yaml'"):
        load_study({**own, "extends": "no.yaml"})


def test_every_key_of_the_schema_is_described():
    rules = yaml.safe_load(SCHEMA.read_text())

    def undescribed(rule, where):
        for name, part in rule.get("properties", {}).items():
            target = part
            if "$ref" in part:
                target = {**rules["$defs"][part["$ref"].rsplit("/", 1)[1]], **part}
            if not target.get("description"):
                yield f"{where}.{name}"
            yield from undescribed(target, f"{where}.{name}")
            if isinstance(target.get("additionalProperties"), dict):
                yield from undescribed(target["additionalProperties"], f"{where}.{name}.*")

    assert list(undescribed(rules, "")) == []


@pytest.mark.parametrize("path", sorted((ROOT / "config").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_study_is_valid(path, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    config = yaml.safe_load(path.read_text())
    if "study" not in config:
        pytest.skip("no study: words of concepts, or a suite")
    if path.stem == "planted":
        pytest.skip("its files are built first: tests/workflow/test_planted_study.py does so")
    if path.stem == "paper":  # its concepts are the files that are there
        for number in range(12):  # as many as generation asks for
            file = tmp_path / "concepts" / "ar" / f"concept{number}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        config["data"] = str(tmp_path)
    assert load_study(config).name == config["study"]
