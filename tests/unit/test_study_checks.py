"""What a study may be: traps of YAML, values that do not fit each other, text that cannot be used.

In every case the error has the key, the value given, what is allowed and a hint.
"""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from babelscope.errors import DataError, StudyError
from babelscope.study.checks import check_text
from babelscope.study.loading import load_study
from text_study import TEXT_STUDY

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
LANGS = ["en", "de", "ru"]


GRAMMAR_STUDY = """
study: tiny
languages: [en, de, ru]
corpora:
  made: {source: grammar, documents: 1000, languages: [en, de, ru], weights: {en: 0.5}}
tokenizers:
  pieces: {corpus: made, vocabulary_size: 400}
models:
  small:
    source: pretrain
    corpus: made
    tokenizer: pieces
    architecture: xglm
    architecture_config: {d_model: 16, num_layers: 2, attention_heads: 2, ffn_dim: 32}
    training: {sequence_length: 16, batch_size: 4, learning_rate: 0.1}
    steps: [0, 4]
sentences: {source: grammar, per_concept: 20}
concepts: {source: grammar}
experts: {share: 0.1}
"""

FILES_STUDY = """
sentences: {source: concepts}
concepts:
  source: files
  ids: [house, water]
  path: "{data}/concepts/{concept}/{lang}.{label}.txt"
  min_positive: 4
"""


def dev_line(lang, number):
    """One line in three is about the dog."""
    return f"the {'dog' if number % 3 == 0 else 'house'} of {lang} {number}"


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working directory with the text of the studies above."""
    monkeypatch.chdir(tmp_path)
    for lang in LANGS:
        write_lines(Path(f"data/web/{lang}.txt"), [f"a document {n}" for n in range(20)])
        write_lines(Path(f"data/dev/{lang}.txt"), [dev_line(lang, n) for n in range(60)])
        for concept in ("house", "water"):
            lines = [f"{concept} {lang} {n}" for n in range(8)]
            write_lines(Path(f"data/concepts/{concept}/{lang}.positive.txt"), lines)
    Path("data/words.yaml").write_text("dog: [dog, dogs]\nhouse: [house]\n", encoding="utf-8")
    return tmp_path


def text_config(**changes):
    return changed(yaml.safe_load(TEXT_STUDY), changes)


def grammar_config(**changes):
    return changed(yaml.safe_load(GRAMMAR_STUDY), changes)


def files_config(**changes):
    return changed(yaml.safe_load(TEXT_STUDY) | yaml.safe_load(FILES_STUDY), changes)


def changed(config, changes):
    """Set ``a__b`` as key b of a; DELETE removes it."""
    config = copy.deepcopy(config)
    for path, value in changes.items():
        *parents, key = path.split("__")
        part = config
        for parent in parents:
            part = part.setdefault(parent, {})
        if value is DELETE:
            del part[key]
        else:
            part[key] = value
    return config


DELETE = object()


def error_of(config, kind=StudyError):
    with pytest.raises(kind) as caught:
        load_study(config)
    return caught.value


def expect(config, key, given, allowed, hint=""):
    error = error_of(config)
    assert error.key == key
    assert error.given == given or (error.given != error.given and given != given)
    assert allowed in error.allowed
    assert hint in error.hint
    text = str(error)
    assert f"config key `{key}`: got " in text
    assert "is not valid under" not in text, "a message of jsonschema leaked"


# --------------------------------------------------------------------------------- valid configs


def test_defaults_are_filled_in():
    study = load_study(text_config())
    assert study.results == "results/tiny"
    assert study.seed == 0
    assert study.corpora["web"].languages == ("en", "de", "ru")
    assert study.extraction.poolings == ("max",)
    assert study.generation.languages == ("en", "de", "ru")
    assert study.report.figure_formats == ("svg", "png", "pdf")
    assert study.config["granularity"] == {
        "steps_per_job": 1,
        "languages_per_job": 1,
        "layers_per_job": 1,
    }
    assert study.concept_ids == ("dog", "house")


def test_a_config_is_not_changed():
    config = text_config()
    before = copy.deepcopy(config)
    load_study(config)
    assert config == before


@pytest.mark.parametrize("name", ["config.yaml", "studies/demo-seeds.yaml"])
def test_the_studies_of_the_repository_load(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    load_study(yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8")))


def test_a_model_is_a_run_per_seed():
    study = load_study(text_config(models__small__seeds=[0, 7]))
    assert list(study.models) == ["small-seed0", "small-seed7"]
    model = study.models["small-seed7"]
    assert (model.id, model.seed, model.steps, model.batches) == ("small", 7, (0, 4), ((0,), (4,)))
    assert model.tokens_per_step == 64
    assert study.models["small-seed7"].folder(4) == Path("results/tiny/models/small-seed7/4")
    assert study.n_units("small-seed0") == 2 * (32 + 16)
    assert study.models["small-seed0"].n_layers == 2


def test_a_share_of_the_units():
    study = load_study(text_config(experts={"share": 0.1}))
    assert study.n_experts("small-seed0") == 10
    assert study.generation_settings("small-seed0").k == 10


def test_min_languages_defaults_to_what_there_is():
    study = load_study(text_config(languages=["en", "de"]))
    assert study.experts.min_languages == 2
    assert study.config["experts"]["min_languages"] == 2


def test_shares_of_languages():
    study = load_study(grammar_config())
    assert study.language_shares("made") == {"en": 0.5, "de": 0.25, "ru": 0.25}
    assert study.n_documents("made") == {"en": 500, "de": 250, "ru": 250}


def test_generation_forces_at_some_sites():
    sites = {"extraction": {"sites": ["mlp_act", "resid"]}}
    every = load_study(text_config(**sites)).generation_settings("small-seed0")
    some = load_study(text_config(**sites, generation__sites=["resid"])).generation_settings("small-seed0")
    assert every.sites == ("mlp_act", "resid")
    assert some.sites == ("resid",)


def test_generation_writes_at_its_own_steps():
    steps = [[0, 2], [4, 8]]
    study = load_study(text_config(models__small__steps=steps, generation__steps=[4]))
    assert study.generation_batches("small-seed0") == ((4,),)
    off = load_study(text_config(generation={"enabled": False}))
    assert off.generation_batches("small-seed0") == ()


@pytest.mark.parametrize(("wanted", "concepts"), [(1, ("dog",)), (["house"], ("house",))])
def test_generation_takes_some_concepts(wanted, concepts):
    study = load_study(text_config(generation__concepts=wanted))
    assert study.generation_concepts == concepts


def test_a_study_extends_another():
    Path("base.yaml").write_text(TEXT_STUDY, encoding="utf-8")
    study = load_study({"extends": "base.yaml", "study": "other", "experts": {"k": 3}})
    assert (study.name, study.experts.k, study.languages) == ("other", 3, ("en", "de", "ru"))


@pytest.mark.parametrize("entry", [{"path": "{data}/{lang}.parquet"}, {"path": "org/set", "name": "{lang}"}])
def test_a_corpus_may_be_a_data_set(entry):
    study = load_study(text_config(corpora__web={"source": "dataset", "column": "body", **entry}))
    assert study.corpora["web"].column == "body"
    assert load_study(study.config) == study


def test_data_lies_elsewhere():
    study = load_study(text_config(data="/elsewhere/", concepts__lists="data/words.yaml"))
    assert study.corpus_path("web", "de") == "/elsewhere/web/de.txt"


# ------------------------------------------------------------------------------------ the schema


def described(rule, path=""):
    """(path, rule) of every key of the schema, references followed."""
    for name, part in rule.get("properties", {}).items():
        yield f"{path}.{name}", resolved(part)
        yield from described(resolved(part), f"{path}.{name}")
    for key in ("additionalProperties", "items"):
        if isinstance(rule.get(key), dict):
            yield from described(resolved(rule[key]), f"{path}.*")
    for branch in rule.get("oneOf", []):
        yield from described(resolved(branch), path)


RULES = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))


def resolved(rule):
    if "$ref" in rule:
        return RULES["$defs"][rule["$ref"].rpartition("/")[2]] | rule
    return rule


def test_every_key_is_described_and_no_mapping_is_open():
    keys = dict(described(RULES))
    assert len(keys) > 80
    assert [path for path, rule in keys.items() if not rule.get("description")] == []
    opened = {
        path for path, rule in keys.items()
        if rule.get("type") == "object" and rule.get("additionalProperties", True) is True
    }  # fmt: skip
    # The settings of transformers' config classes.
    assert opened == {".models.*.architecture_config"}


@pytest.mark.parametrize("make", [text_config, grammar_config, files_config])
def test_a_config_with_its_defaults_can_be_used_again(make):
    study = load_study(make())
    assert load_study(study.config) == study


SCHEMA_ERRORS = {
    "unknown key": (
        {"langauges": ["en"]}, "langauges", ["en"], "languages", "did you mean `languages`?",
    ),
    "unknown inner key": (
        {"corpora__web__temperatur": 0.5}, "corpora.web.temperatur", 0.5, "temperature",
        "did you mean `temperature`?",
    ),
    "missing key": ({"languages": DELETE}, "languages", None, "it is required", "BCP 47"),
    "missing inner key": (
        {"models__small__steps": DELETE}, "models.small.steps", None, "it is required", "",
    ),
    "Norwegian": (
        {"languages": ["en", False]}, "languages[1]", False, "text", "put it in quotes",
    ),
    "a year": ({"study": 2024}, "study", 2024, "text", "put it in quotes"),
    "slash in a name": ({"study": "a/b"}, "study", "a/b", "letters, digits", "file names"),
    "no name": ({"study": ""}, "study", "", "letters, digits", "file names"),
    "model name": (
        {"models__a b": {"source": "local", "steps": [1]}}, "models.a b", "a b",
        "letters, digits", "file names",
    ),
    "number as a name": (
        {"tokenizers__7": DELETE}, "tokenizers.7", 7, "letters, digits", "put it in quotes",
    ),
    "language twice": ({"languages": ["en", "de", "en"]}, "languages", "en", "each item once", ""),
    "one language": ({"languages": ["en"]}, "languages", ["en"], "2 items or more", ""),
    "1e-3": (
        {"models__small__training__learning_rate": "1e-3"}, "models.small.training.learning_rate",
        "1e-3", "a number", "1.0e-3",
    ),
    "nan": (
        {"models__small__training__learning_rate": float("nan")},
        "models.small.training.learning_rate", float("nan"), "a number", "finite",
    ),
    "a whole number": ({"experts__k": 5.0}, "experts.k", 5.0, "a whole number", ""),
    "true is no number": ({"experts__k": True}, "experts.k", True, "a whole number", ""),
    "too small": ({"experts__k": 0}, "experts.k", 0, "1 or more", ""),
    "too large": ({"corpora__web__heldout": 0.9}, "corpora.web.heldout", 0.9, "0.5 or less", ""),
    "not above": ({"probes": {"c": 0}}, "probes.c", 0, "more than 0", ""),
    "not below": ({"probes": {"test_share": 1}}, "probes.test_share", 1, "less than 1", ""),
    "too many": (
        {"models__small__training__betas": [0.9, 0.9, 0.9]}, "models.small.training.betas",
        [0.9, 0.9, 0.9], "2 items or fewer", "",
    ),
    "too few": (
        {"models__small__training__betas": [0.9]}, "models.small.training.betas", [0.9],
        "2 items or more", "",
    ),
    "a section without keys": ({"experts": None}, "experts", None, "a mapping", "nothing stands"),
    "no reason": ({"assumed": {"seed": ""}}, "assumed.seed", "", "not empty", ""),
    "no source": ({"models__small__source": DELETE}, "models.small.source", None, "it is required", ""),
    "an empty source": (
        {"models__small__source": None}, "models.small.source", None, "pretrain, hub, local", "",
    ),
    "a key that is no step": (
        {"models__small": {"source": "local", "path": "x/{step}", "steps": [1], "tokens": {"a": 1}}},
        "models.small.tokens.a", "a", "a step, as a whole number", "",
    ),
    "site": (
        {"extraction__sites": ["mlp_axt"]}, "extraction.sites[0]", "mlp_axt", "attn_qkv",
        "did you mean `mlp_act`?",
    ),
    "site twice": (
        {"extraction__sites": ["resid", "resid"]}, "extraction.sites", "resid", "once", "twice",
    ),
    "source": (
        {"models__small__source": "hob"}, "models.small.source", "hob", "pretrain, hub, local", "",
    ),
    "nothing": (
        {"models__small__corpus": None}, "models.small.corpus", None, "text", "nothing stands",
    ),
    "no models": ({"models": {}}, "models", {}, "at least one entry", ""),
    "a list of models": ({"models": []}, "models", [], "a mapping", ""),
    "seeds": (
        {"models__small__seeds": [0, 0]}, "models.small.seeds", 0, "each item once", "twice",
    ),
    "k and share": (
        {"experts__share": 0.1}, "experts", {"k": 4, "share": 0.1}, "exactly one of k, share", "",
    ),
    "neither k nor share": ({"experts": {}}, "experts", {}, "exactly one of k, share", ""),
    "a step": (
        {"models__small__steps": [0, "a"]}, "models.small.steps[1]", "a",
        "a whole number or a list", "",
    ),
    "a negative step": (
        {"models__small__steps": [[-1, 4]]}, "models.small.steps[0][0]", -1, "0 or more", "",
    ),
    "steps": ({"models__small__steps": 5}, "models.small.steps", 5, "a list or a mapping", ""),
    "no steps": ({"models__small__steps": []}, "models.small.steps", [], "at least one item", ""),
    "rule of steps": (
        {"models__small__steps": {"powers_of_2": [1, 4]}}, "models.small.steps.powers_of_2", [1, 4],
        "powers_of_two, every, until, also", "did you mean `powers_of_two`?",
    ),
    "no svg": (
        {"report": {"figure_formats": ["png"]}}, "report.figure_formats", ["png"], "svg", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SCHEMA_ERRORS)
def test_the_schema_speaks_plainly(case):
    changes, *wanted = SCHEMA_ERRORS[case]
    if case == "number as a name":
        config = text_config()
        config["tokenizers"][7] = {"corpus": "web", "vocabulary_size": 400}
    else:
        config = text_config(**changes)
    expect(config, *wanted)


def test_the_cause_comes_first_and_the_others_are_counted():
    config = text_config(languages=DELETE, langauges=LANGS, experts__k=0)
    error = error_of(config)
    assert error.key == "langauges"
    assert "2 more to repair" in error.hint
    assert "`languages`" in error.hint
    assert "`experts.k`" in error.hint


def test_every_missing_key_is_counted_once():
    error = error_of({"study": "x"})
    keys = {error.key, *(key.strip("`") for key in error.hint.split("repair: ")[1].split(", "))}
    assert keys == {"languages", "models", "sentences", "concepts", "experts"}


# --------------------------------------------------------------------------------------- steps


def batches(steps):
    return load_study(text_config(models__small__steps=steps)).models["small-seed0"].batches


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([0, 64, 128], ((0,), (64,), (128,))),
        ([[0, 64], [256, 512], 300, [724]], ((0, 64), (256, 512), (300,), (724,))),
        ({"powers_of_two": [1, 8]}, ((1,), (2,), (4,), (8,))),
        ({"powers_of_two": [3, 8], "also": [0]}, ((0,), (4,), (8,))),
        ({"every": 5, "until": 17}, ((5,), (10,), (15,))),
        ({"powers_of_two": [1, 8], "every": 4, "until": 12}, ((1,), (2,), (4,), (8,), (12,))),
    ],
)  # fmt: skip
def test_steps_are_expanded(steps, expected):
    assert batches(steps) == expected


def test_the_paper_has_its_steps():
    found = batches({"powers_of_two": [1, 131072], "every": 5000, "until": 131072})
    assert len(found) == 18 + 26
    assert found[-1] == (131072,)


@pytest.mark.parametrize(
    ("steps", "key", "given", "allowed"),
    [
        ([4, 0], "", [4, 0], "increase"),
        ([4, 4], "", [4, 4], "increase"),
        ([[0, 64, 32]], "", [64, 32], "increase"),
        ([[0, 64], [512, 724], 300], "", [512, 300], "increase"),
        ([[0, 64], [32, 64]], "", 64, "each step once"),
        ({"every": 5}, ".until", None, "`every` needs it"),
        ({"until": 5}, ".every", None, "`until` needs it"),
        ({"powers_of_two": [1, 4], "until": 9}, ".every", None, "`until` needs it"),
        ({"every": 5, "until": 4}, ".until", 4, "5, or more"),
        ({"powers_of_two": [8, 2]}, ".powers_of_two", [8, 2], "a power of two between"),
        ({"powers_of_two": [5, 7], "also": [0]}, ".powers_of_two", [5, 7], "between"),
        ({"also": []}, "", {"also": []}, "at least one step"),
    ],
)
def test_steps_that_cannot_be(steps, key, given, allowed):
    config = text_config(models__small__steps=steps)
    expect(config, f"models.small.steps{key}", given, allowed)


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=12), st.data())
def test_every_step_resumes_from_one_that_another_job_saves(steps, data):
    ordered = sorted(steps)
    config = yaml.safe_load(GRAMMAR_STUDY)
    cut = data.draw(st.lists(st.booleans(), min_size=len(ordered), max_size=len(ordered)))
    batched = []
    for step, new in zip(ordered, cut, strict=True):
        if new or not batched:
            batched.append([])
        batched[-1].append(step)
    config["models"]["small"]["steps"] = batched
    study = load_study(config)
    model = study.models["small-seed0"]
    assert model.steps == tuple(ordered)
    for i, batch in enumerate(batched):
        expected = batched[i - 1][-1] if i else None
        assert {study.previous_step("small-seed0", step) for step in batch} == {expected}


def test_a_step_inserted_between_those_of_one_job():
    study = load_study(text_config(models__small__steps=[0, [256, 512], 300, 724]))
    assert study.previous_step("small-seed0", 512) == 0
    assert study.previous_step("small-seed0", 300) == 256
    assert study.previous_step("small-seed0", 724) == 512


# -------------------------------------------------------------------------------- cross checks


CROSS_ERRORS = {
    "group of an unknown concept": (
        {"concepts__groups": {"animals": ["dog", "hose"]}},
        "concepts.groups.animals", "hose", "dog, house", "house",
    ),
    "concept in two groups": (
        {"concepts__groups": {"animals": ["dog", "house"], "homes": ["house", "dog"]}},
        "concepts.groups.homes", "house", "no other group", "animals",
    ),
    "corpus of a tokenizer": (
        {"tokenizers__pieces__corpus": "wed"}, "tokenizers.pieces.corpus", "wed", "web",
        "did you mean `web`?",
    ),
    "corpus of a model": (
        {"models__small__corpus": "x"}, "models.small.corpus", "x", "web", "",
    ),
    "tokenizer of a model": (
        {"models__small__tokenizer": "piece"}, "models.small.tokenizer", "piece", "pieces",
        "did you mean `pieces`?",
    ),
    "no tokenizer at all": (
        {"tokenizers": {}}, "models.small.tokenizer", "pieces", "none is defined", "",
    ),
    "no architecture": (
        {"models__small__architecture": DELETE}, "models.small.architecture", None,
        "source pretrain needs it", "",
    ),
    "k": (
        {"experts__k": 97}, "experts.k", 97, "at most the 96 units of model small",
        "extraction.sites",
    ),
    "fewer kept than k": (
        {"experts__kept": 3}, "experts.kept", 3, "at least the 4 experts of a concept in model small",
        "chosen among what is kept",
    ),
    "fewer kept than a share": (
        {"experts": {"share": 0.1, "kept": 9}}, "experts.kept", 9, "at least the 10 experts", "",
    ),
    "generation.k": (
        {"experts__kept": 7, "generation__k": 8}, "generation.k", 8,
        "at most the 7 units of a concept that are kept in model small", "experts.kept",
    ),
    "generation.steps": (
        {"generation__steps": [4, 5]}, "generation.steps", 5, "[0, 4]", "",
    ),
    "generation.sites": (
        {"generation__sites": ["resid"]}, "generation.sites", "resid", "mlp_act", "",
    ),
    "generation.languages": (
        {"generation__languages": ["fr"]}, "generation.languages", "fr", "en, de, ru", "",
    ),
    "generation.concepts": (
        {"generation__concepts": ["dogs"]}, "generation.concepts", "dogs", "dog, house",
        "did you mean `dog`?",
    ),
    "traces.steps": ({"traces": {"steps": [4, 5]}}, "traces.steps", 5, "[0, 4]", ""),
    "one traced step": ({"traces": {"steps": 1}}, "traces.steps", 1, "2 or more", ""),
    "more named than traced": (
        {"traces": {"units": ["L01.mlp_act.0", "L01.mlp_act.1"], "max_units": 1}}, "traces.units",
        ["L01.mlp_act.0", "L01.mlp_act.1"], "at most 1 units, traces.max_units", "raise",
    ),
    "no name of a unit": (
        {"traces": {"units": ["mlp_act.3"]}}, "traces.units", "mlp_act.3", "names such as L03.mlp_act.117", "",
    ),
    "a unit beyond the last": (
        {"traces": {"units": ["L02.mlp_act.31", "L02.mlp_act.32"]}}, "traces.units", "L02.mlp_act.32",
        "small-seed0: L01.mlp_act.0 to L02.mlp_out.15", "",
    ),
    "a unit of another site": (
        {"traces": {"units": ["L01.resid.0"]}}, "traces.units", "L01.resid.0", "extraction.sites", "",
    ),
    "length of a text": (
        {"generation__max_new_tokens": 2048}, "generation.max_new_tokens", 2048,
        "less than the 2048 positions", "start token",
    ),
    "sequence length": (
        {"models__small__training__sequence_length": 4096}, "models.small.training.sequence_length",
        4096, "at most the model's 2048 positions", "",
    ),
    "max_length": (
        {"extraction__max_length": 4096}, "extraction.max_length", 4096, "2048 positions", "",
    ),
    "probe tokens": (
        {"probes": {"tokens_per_language": 1501}}, "probes.tokens_per_language", 1501,
        "at most extraction.tokens_per_language, 1500", "",
    ),
    "min_languages": (
        {"experts__min_languages": 4}, "experts.min_languages", 4, "the number of languages, 3", "",
    ),
    "anchors": (
        {"probes": {"anchor_min_languages": 4}}, "probes.anchor_min_languages", 4,
        "the number of languages, 3", "",
    ),
    "a schedule without an end": (
        {"models__small__training__schedule": "linear"}, "models.small.training.decay_steps", None,
        "schedule linear needs it", "",
    ),
    "a schedule that ends too soon": (
        {"models__small__training": {
            "sequence_length": 16, "batch_size": 4, "learning_rate": 0.1, "schedule": "linear",
            "warmup_steps": 8, "decay_steps": 8,
        }}, "models.small.training.decay_steps", 8, "more than warmup_steps, 8", "",
    ),
    "accumulation": (
        {"models__small__training__accumulation": 3}, "models.small.training.accumulation", 3,
        "a divisor of batch_size, 4", "",
    ),
    "a size of another architecture": (
        {"models__small__architecture_config": {"n_embd": 16}},
        "models.small.architecture_config.n_embd", 16, "sizes of xglm are num_layers",
        "another architecture",
    ),
    "a misspelt size": (
        {"models__small__architecture_config__num_layer": 2},
        "models.small.architecture_config.num_layer", 2, "num_layers",
        "did you mean `num_layers`?",
    ),
    "a size below one": (
        {"models__small__architecture_config__d_model": -1},
        "models.small.architecture_config.d_model", -1, "a positive integer", "",
    ),
    "heads": (
        {"models__small__architecture_config__attention_heads": 3},
        "models.small.architecture_config.attention_heads", 3, "a divisor of the width, 16", "",
    ),
    "vocabulary": (
        {"models__small__architecture_config__vocab_size": 9},
        "models.small.architecture_config.vocab_size", 9, "the tokenizer", "",
    ),
    "sentences and concepts": (
        {"concepts": {"source": "grammar"}}, "concepts.source", "grammar",
        "sentences grammar with concepts grammar; sentences parallel with concepts words; "
        "sentences concepts with concepts files",
        "sentences.source is parallel, which goes with words",
    ),
    "an ignored key": (
        {"corpora__web__weights": {"en": 0.5}}, "corpora.web.weights", {"en": 0.5},
        "it is for source grammar", "corpora.web.source is text",
    ),
    "an ignored key of the sentences": (
        {"sentences__per_concept": 30}, "sentences.per_concept", 30, "for source grammar",
        "remove `per_concept`",
    ),
    "a key of data sets": (
        {"corpora__web__column": "body"}, "corpora.web.column", "body", "it is for source dataset", "",
    ),
    "a field in the name of a data set": (
        {"corpora__web": {"source": "dataset", "path": "org/set", "name": "{lang}.{step}"}},
        "corpora.web.name", "{lang}.{step}", "{lang}", "'step' is not one of them",
    ),
    "no {lang} in a data set": (
        {"corpora__web": {"source": "dataset", "path": "org/set"}}, "corpora.web.path", "org/set",
        "{lang}", "`{lang}` is missing",
    ),
    "no path": ({"corpora__web__path": DELETE}, "corpora.web.path", None, "a path", ""),
    "no {lang}": (
        {"sentences__path": "dev.txt"}, "sentences.path", "dev.txt", "a path with {lang}",
        "`{lang}` is missing",
    ),
    "a field that does not exist": (
        {"corpora__web__path": "{lang}/{concept}.txt"}, "corpora.web.path", "{lang}/{concept}.txt",
        "a path with {lang}", "'concept' is not one of them",
    ),
    "braces": (
        {"corpora__web__path": "{lang}/{.txt"}, "corpora.web.path", "{lang}/{.txt", "{lang}",
        "its braces cannot be read",
    ),
    "no word lists": (
        {"concepts__lists": DELETE}, "concepts.lists", None, "source words needs it", "",
    ),
    "word lists that are not there": (
        {"concepts__lists": "nowhere.yaml"}, "concepts.lists", "nowhere.yaml", "a YAML file",
        "the working directory",
    ),
    "concept without a list": (
        {"concepts__ids": ["dog", "hause"]}, "concepts.ids", "hause", "dog, house",
        "did you mean `house`?",
    ),
    "one concept": (
        {"concepts__ids": ["dog"]}, "concepts.ids", ["dog"], "two concepts or more", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CROSS_ERRORS)
def test_values_must_fit_each_other(case):
    changes, *wanted = CROSS_ERRORS[case]
    expect(text_config(**changes), *wanted)


GRAMMAR_ERRORS = {
    "language of the study": (
        {"languages": ["en", "sw"]}, "languages", "sw", "languages of the grammar: en",
        "bring text",
    ),
    "language of a corpus": (
        {"corpora__made__languages": ["en", "sw"]}, "corpora.made.languages", "sw",
        "languages of the grammar", "bring text",
    ),
    "documents": (
        {"corpora__made__documents": DELETE}, "corpora.made.documents", None, "a value", "",
    ),
    "weights of another language": (
        {"corpora__made__weights": {"fr": 0.5}}, "corpora.made.weights", "fr", "en, de, ru", "",
    ),
    "weights above one": (
        {"corpora__made__weights": {"en": 0.7, "de": 0.7}}, "corpora.made.weights",
        1.4, "sum to 1", "",
    ),
    "weights of all below one": (
        {"corpora__made__weights": {"en": 0.3, "de": 0.3, "ru": 0.3}}, "corpora.made.weights",
        0.9, "sum to 1", "",
    ),
    "nothing left": (
        {"corpora__made__weights": {"en": 0.5, "de": 0.5}}, "corpora.made.weights",
        {"en": 0.5, "de": 0.5}, "above 0", "nothing is left for ru",
    ),
    "concept": (
        {"concepts__ids": ["house", "wter"]}, "concepts.ids", "wter", "house",
        "did you mean `water`?",
    ),
    "too few sentences": (
        {"sentences__per_concept": 10}, "concepts.min_positive", 20,
        "at most sentences.per_concept, 10", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GRAMMAR_ERRORS)
def test_the_grammar_has_its_limits(case):
    changes, *wanted = GRAMMAR_ERRORS[case]
    expect(grammar_config(**changes), *wanted)


def test_norwegian_among_the_weights():
    config = grammar_config()
    config["corpora"]["made"]["weights"] = {False: 0.5}
    expect(config, "corpora.made.weights", False, "en, de, ru", "put it in quotes")


def test_two_runs_of_one_name():
    config = text_config(models__small__seeds=[0])
    folder = write_checkpoint("run/1")
    config["models"]["small-seed0"] = {"source": "local", "path": str(folder), "steps": [1]}
    expect(config, "models.small-seed0", "small-seed0", "a name of its own", "rename one")


def test_studies_that_extend_each_other():
    Path("a.yaml").write_text("extends: b.yaml\n", encoding="utf-8")
    Path("b.yaml").write_text("extends: a.yaml\n", encoding="utf-8")
    expect({"extends": "a.yaml"}, "extends", "a.yaml", "a study file", "circle")
    expect({"extends": "c.yaml"}, "extends", "c.yaml", "a study file", "working directory")


@pytest.mark.parametrize(
    ("text", "problem"), [("a: [", "is no YAML"), ("- a\n", "is no mapping"), ("", "is no mapping")]
)
def test_a_base_that_is_no_study(text, problem):
    Path("base.yaml").write_text(text, encoding="utf-8")
    assert problem in error_of({"extends": "base.yaml"}, DataError).problem


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("- dog\n", "is no mapping", ""),
        ("dog: [", "is no YAML", ""),
        ("a dog: [dog]\n", "'a dog' is no name", "file names"),
        ("no: [dog]\n", "False is no name", "quotes"),
        ("dog: []\n", "is no mapping of concepts to lists of words: see dog", ""),
        ("dog: [no]\n", "dog lists False", "quotes"),
        ("dog: ['']\n", "dog lists ''", ""),
        ('dog: ["d\\0g"]\n', "which holds NUL", ""),
        ('{"dog": ["dog", "\\ud800"]}', "which holds half of a surrogate pair", ""),
        ('dog: ["\\u200b\\u2060"]\n', "which holds nothing that can be seen", ""),
        (
            "dog: [dog]\ncat: [cat]\ndog: [hound]\n",
            "line 3, column 1: 'dog' stands twice, first in line 1",
            "",
        ),
        ("dog: {en: []}\n", "is no mapping of concepts to lists of words: see dog", ""),
        ("dog: {no: [hund], en: [dog]}\n", "dog has words in False", "quotes"),
        ("dog: {de: [Hund]}\n", "dog has words in de, none in en", "concepts.label_language"),
    ],
)
def test_word_lists_that_cannot_be_read(text, problem, hint):
    Path("data/words.yaml").write_text(text, encoding="utf-8")
    error = error_of(text_config(), DataError)
    assert problem in error.problem
    assert hint in error.hint


def test_concepts_that_differ_in_case_alone():
    Path("data/words.yaml").write_text("football: [football]\nFootball: [soccer]\n", encoding="utf-8")
    error = error_of(text_config())
    assert (error.key, error.given) == ("concepts", "Football")
    assert "football for one file" in error.hint


@pytest.mark.parametrize("codes", [["en", "EN"], ["en", "de", "eng"]])
def test_one_language_under_two_codes(codes):
    error = error_of(text_config(languages=codes))
    assert error.key == "languages"
    assert f"en and {codes[-1]} are one language" in error.hint


def test_words_of_several_languages():
    lists = "dog: {en: [dog], de: [' Hund ', Hunde]}\nhouse: [house]\n"
    Path("data/words.yaml").write_text(lists, encoding="utf-8")
    study = load_study(text_config())
    assert study.word_forms["dog"] == {"en": ["dog"], "de": ["Hund", "Hunde"]}
    assert study.word_lists == {"dog": ["dog"], "house": ["house"]}


def test_a_file_of_words_per_language():
    for lang, text in {"en": "dog: [dog]\nhouse: [house]\n", "de": "dog: [Hund]\n"}.items():
        Path(f"data/words.{lang}.yaml").write_text(text, encoding="utf-8")
    study = load_study(text_config(concepts__lists="{data}/words.{lang}.yaml"))
    assert study.word_forms == {"dog": {"en": ["dog"], "de": ["Hund"]}, "house": {"en": ["house"]}}
    Path("data/words.de.yaml").write_text("sea: [Meer]\n", encoding="utf-8")
    error = error_of(text_config(concepts__lists="{data}/words.{lang}.yaml"), DataError)
    assert "lacks sea, of which de has words" in error.problem


def test_words_beside_concept_files():
    """The texts of the paper's study say something of words, where words are given."""
    Path("data/words.yaml").write_text(
        "house: {en: [house], deu: [Haus]}\nsea: {en: [sea]}\n", encoding="utf-8"
    )
    study = load_study(files_config(concepts__lists="{data}/words.yaml"))
    assert study.word_forms == {"house": {"en": ["house"], "de": ["Haus"]}}
    assert load_study(files_config()).word_forms == {}
    Path("data/words.yaml").write_text("house: [house]\n", encoding="utf-8")
    error = error_of(files_config(concepts__lists="{data}/words.yaml"), DataError)
    assert "house has words of no language" in error.problem
    expect(
        files_config(concepts__lists="{data}/{lang}.yaml"),
        "concepts.lists",
        "data/{lang}.yaml",
        "a path at which",
        "none of",
    )


def test_language_units_ask_for_parallel_sentences():
    expect(
        files_config(views={"language_units": True}),
        "views.language_units",
        True,
        "false where sentences are of concept files",
        "bring parallel sentences",
    )
    assert load_study(text_config(views={"language_units": True})).views.language_units


def test_languages_of_any_convention_are_one():
    config = text_config(languages=["eng_Latn", "de"], concepts__label_language="en")
    assert load_study(config).concepts.label_language == "eng_Latn"
    Path("data/words.yaml").write_text(
        "dog: {en: [dog], de: [Hund]}\nhouse: {en: [house]}\n", encoding="utf-8"
    )
    assert load_study(config).word_forms["dog"] == {"eng_Latn": ["dog"], "de": ["Hund"]}


@pytest.mark.parametrize(
    ("code", "hint"), [("german", "did you mean `de`"), ("en2", "did you mean `en`"), ("zz", "qaa")]
)
def test_what_is_no_code_of_a_language(code, hint):
    expect(text_config(languages=["en", code]), "languages", code, "a code of a language", hint)


def test_languages_of_texts_that_will_not_be_known():
    languages = ["en", "ig", "zh", "zh-TW"]
    for lang in languages:
        write_lines(Path(f"data/web/{lang}.txt"), ["a"])
    config = text_config(languages=languages)
    assert not load_study({**config, "generation": {"enabled": False}}).warnings
    shared, unknown = load_study({**config, "generation": {}}).warnings
    assert "zh and zh-TW are one language to the identifier, Chinese" in shared
    assert "cannot be identified as ig" in unknown


def test_a_part_of_a_split_is_refused():
    corpus = {"source": "dataset", "path": "{data}/{lang}.parquet", "split": "train[:10%]"}
    config = text_config(corpora={"web": corpus})
    expect(config, "corpora.web.split", "train[:10%]", "name of a split", "a stream has no parts")


# -------------------------------------------------------------------------------- local models


def write_checkpoint(folder, **config):
    folder = Path(folder)
    folder.mkdir(parents=True)
    sizes = {"d_model": 16, "num_layers": 2, "attention_heads": 2, "ffn_dim": 32}
    (folder / "config.json").write_text(json.dumps({"model_type": "xglm", **sizes, **config}))
    save_file({"weight": np.zeros(4, dtype=np.float32)}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def local_config(path, steps, **more):
    config = text_config(models={"mine": {"source": "local", "path": path, "steps": steps, **more}})
    del config["corpora"], config["tokenizers"]
    return config


def test_a_folder_per_step():
    write_checkpoint("data/run/checkpoint-0100")
    write_checkpoint("data/run/checkpoint-0200")
    study = load_study(local_config("{data}/run/checkpoint-{step:04d}", [100, 200]))
    assert list(study.models) == ["mine"]
    assert study.models["mine"].folder(200) == Path("data/run/checkpoint-0200")
    assert study.models["mine"].tokenizer_folder(200) == Path("data/run/checkpoint-0200")
    assert study.n_units("mine") == 96


def test_one_step_needs_no_field_and_a_tokenizer_may_lie_elsewhere():
    folder = write_checkpoint("data/run")
    (folder / "tokenizer.json").rename(Path("data/tokenizer.json"))
    study = load_study(local_config("{data}/run", [5], tokenizer_path="{data}"))
    assert study.models["mine"].tokenizer_folder(5) == Path("data")


def test_a_local_path_needs_the_step():
    write_checkpoint("data/run")
    expect(
        local_config("{data}/run", [5, 6]), "models.mine.path", "{data}/run", "{step}",
        "`{step}` is missing",
    )  # fmt: skip


def test_k_against_a_local_model():
    write_checkpoint("data/run", ffn_dim=1)
    config = local_config("{data}/run", [5])
    config["experts"]["k"] = 35
    expect(config, "experts.k", 35, "at most the 34 units of model mine")


def test_max_length_against_a_local_model():
    write_checkpoint("data/run", max_position_embeddings=64)
    expect(local_config("{data}/run", [5]), "extraction.max_length", 128, "the model's 64 positions")


@pytest.mark.parametrize(
    ("missing", "problem", "hint"),
    [
        ("config.json", "has no config.json", "Hugging Face"),
        ("model.safetensors", "has no weights", ""),
        ("tokenizer.json", "has no tokenizer", "models.mine.tokenizer_path"),
    ],
)
def test_a_folder_that_is_no_checkpoint(missing, problem, hint):
    (write_checkpoint("data/run") / missing).unlink()
    error = error_of(local_config("{data}/run", [5]), DataError)
    assert error.path == Path("data/run")
    assert problem in error.problem
    assert hint in error.hint


def test_a_folder_that_is_not_there():
    config = local_config("{data}/run-{step}", [5])
    expect(config, "models.mine.path", "data/run-5", "a folder that exists", "working directory")


def test_an_architecture_that_is_not_known():
    write_checkpoint("data/run", model_type="mamba")
    error = error_of(local_config("{data}/run", [5]), DataError)
    assert error.path == Path("data/run/config.json")
    assert "'mamba'; allowed: one of apertus, bert, bloom" in error.problem


def test_a_config_that_is_no_json():
    (write_checkpoint("data/run") / "config.json").write_text("{")
    assert "config.json cannot be read" in error_of(local_config("{data}/run", [5]), DataError).problem


# ------------------------------------------------------------------------------------ check_text


def text_error(config, kind=DataError):
    study = load_study(config)
    with pytest.raises(kind) as caught:
        check_text(study)
    return caught.value


@pytest.mark.parametrize("make", [text_config, grammar_config, files_config])
def test_text_that_is_fine(make):
    check_text(load_study(make()))


def test_all_missing_files_are_listed():
    for path in ("web/de", "web/ru", "dev/ru"):
        Path(f"data/{path}.txt").unlink()
    error = text_error(text_config(), StudyError)
    assert (error.key, error.given) == ("corpora.web.path", "{data}/web/{lang}.txt")
    assert "data/web/de.txt (de), data/web/ru.txt (ru)" in error.hint
    assert "`sentences.path`: data/dev/ru.txt (ru)" in error.hint
    assert "{data} stands for `data`" in error.hint


def test_a_missing_label_language():
    error = text_error(text_config(concepts__label_language="fr"), StudyError)
    assert (error.key, error.given) == ("concepts.label_language", "fr")
    assert "data/dev/fr.txt" in error.hint


def test_the_label_language_need_not_be_analysed():
    check_text(load_study(text_config(languages=["de", "ru"])))


def test_a_missing_concept_file():
    Path("data/concepts/water/de.positive.txt").unlink()
    error = text_error(files_config(), StudyError)
    assert error.key == "concepts.path"
    assert "data/concepts/water/de.positive.txt (water, de, positive)" in error.hint


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_language_without_text(content):
    Path("data/web/de.txt").write_text(content, encoding="utf-8")
    error = text_error(text_config())
    assert error.path == Path("data/web/de.txt")
    assert "language de has no text" in error.problem


@pytest.mark.parametrize("folder", ["web", "dev"])
def test_text_that_is_not_utf8(folder):
    with Path(f"data/{folder}/de.txt").open("ab") as file:
        offset = file.tell()
        file.write(b"caf\xe9\n")
    error = text_error(text_config())
    assert error.path == Path(f"data/{folder}/de.txt")
    assert f"byte 0xe9 at offset {offset + 3}" in error.problem


def replace_line(path, number, text):
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    lines[number - 1] = text
    write_lines(Path(path), lines)


def test_an_empty_line():
    replace_line("data/dev/de.txt", 7, "  ")
    assert "line 7 is empty" in text_error(text_config()).problem


def test_a_sentence_that_stands_twice():
    replace_line("data/dev/de.txt", 7, dev_line("de", 1) + " ")
    error = text_error(text_config())
    assert "line 7 repeats line 2" in error.problem
    assert "keep_first" in error.hint
    check_text(load_study(text_config(sentences__duplicates="keep_first")))


def test_parallel_files_of_different_lengths():
    with Path("data/dev/ru.txt").open("a", encoding="utf-8") as file:
        file.write("one more\n")
    error = text_error(text_config())
    assert error.path == Path("data/dev/ru.txt")
    assert "has 61 lines, most of the other languages have 60" in error.problem


def test_groups_of_sentences_are_read_while_planning():
    groups = Path("data/dev/documents.txt")
    config = text_config(sentences__groups="{data}/dev/documents.txt")
    with pytest.raises(StudyError, match=r"(?s)sentences.groups.*not there: data/dev/documents.txt"):
        check_text(load_study(config))
    write_lines(groups, [f"d{n // 7}" for n in range(59)])
    assert "has 59 lines, data/dev/en.txt has 60 sentences" in text_error(config).problem
    write_lines(groups, ["all"] * 60)
    assert "all 60 sentences are of one group" in text_error(config).problem
    write_lines(groups, [f"d{n // 7}" for n in range(60)])
    check_text(load_study(config))


def test_groups_hold_for_all_languages():
    with pytest.raises(StudyError, match=r"(?s)sentences.groups.*'lang' is not one of them"):
        load_study(text_config(sentences__groups="{data}/{lang}.groups"))


def test_too_few_positive_lines():
    error = text_error(text_config(concepts__min_positive=21))
    assert "dog in en: 20 positive sentences, 21 needed; dog in de" in error.problem
    assert "concepts.min_positive" in error.hint


def test_no_more_than_ten_concepts_are_listed():
    lists = {f"c{n}": ["nothing"] for n in range(5)}
    Path("data/words.yaml").write_text(yaml.safe_dump(lists), encoding="utf-8")
    problem = text_error(text_config()).problem
    assert problem.count("needed") == 10
    assert problem.endswith("and 5 more")


def test_both_halves_need_sentences():
    for lang in LANGS:  # the dog on even lines only
        lines = [f"{'cat' if n % 2 else 'dog'} {lang} {n}" for n in range(1, 61)]
        write_lines(Path(f"data/dev/{lang}.txt"), lines)
    Path("data/words.yaml").write_text("dog: [dog]\nother: [cat]\n", encoding="utf-8")
    problem = text_error(text_config()).problem
    assert "dog in en: 30 and 0 positive sentences in the halves a and b, 2 needed" in problem


def test_negatives_are_needed_too():
    Path("data/words.yaml").write_text("all: [the]\ndog: [dog]\n", encoding="utf-8")
    problem = text_error(text_config()).problem
    assert "all in en: 0 and 0 negative sentences in the halves a and b" in problem


def test_too_few_sentences_in_concept_files():
    write_lines(Path("data/concepts/water/de.positive.txt"), ["a", "b"])
    write_lines(Path("data/concepts/house/ru.positive.txt"), ["a"])
    problem = text_error(files_config()).problem
    assert "water in de: 2 positive sentences, 4 needed" in problem
    assert "house in ru: 1 positive sentences, 4 needed" in problem


def test_negative_files_for_all_languages_or_none():
    negative = "data/concepts/water/{}.negative.txt"
    write_lines(Path(negative.format("en")), [f"fire {n}" for n in range(8)])
    error = text_error(files_config())
    assert "water has no negative sentences in de, but it has in en" in error.problem
    for lang in LANGS:
        write_lines(Path(negative.format(lang)), [f"fire {n}" for n in range(8)])
    check_text(load_study(files_config()))


def test_a_concept_name_that_ids_of_negatives_have():
    expect(files_config(concepts__ids=["a", "a-neg"]), "concepts.ids", "a-neg", "-neg")


def test_long_training_text_is_read_at_its_start(monkeypatch):
    monkeypatch.setattr("babelscope.text.lines._READ_WHOLE", 1000)
    monkeypatch.setattr("babelscope.text.lines._READ_START", 100)
    path = Path("data/web/de.txt")
    path.write_bytes("ü\n".encode() * 600 + b"\xff")
    check_text(load_study(text_config()))  # the fault at the end is found by the job
    path.write_bytes(b"\xff" + b"a" * 1200)
    assert "offset 0" in text_error(text_config()).problem
    path.write_bytes("ü\n".encode() * 600)  # the cut falls into a character
    check_text(load_study(text_config()))
