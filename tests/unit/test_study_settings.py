"""One home for settings: what a class says is what the library, the study, the schema and the docs say."""

from __future__ import annotations

import difflib
import re
import runpy
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from babelscope.analysis.settings import (
    AlignmentSettings,
    AuditSettings,
    ExpertSettings,
    GenerationSettings,
    ProbeSettings,
)
from babelscope.capture.settings import ExtractionSettings
from babelscope.complaints import described
from babelscope.errors import StudyError
from babelscope.models.architectures import SITES
from babelscope.models.training.settings import TrainingSettings
from babelscope.study.loading import load_study
from babelscope.study.settings import Granularity, ReportSettings

ROOT = Path(__file__).resolve().parents[2]
TRAINING = {"sequence_length": 16, "batch_size": 4, "learning_rate": 0.1}
BARE = yaml.safe_load("""
study: bare
languages: [en, de, ru]
corpora: {made: {source: grammar, documents: 1000}}
tokenizers: {pieces: {corpus: made, vocabulary_size: 400}}
models:
  small:
    source: pretrain
    corpus: made
    tokenizer: pieces
    architecture: xglm
    architecture_config: {d_model: 16, num_layers: 2, attention_heads: 2, ffn_dim: 32}
    training: {sequence_length: 16, batch_size: 4, learning_rate: 0.1}
    steps: [0, 4]
sentences: {source: grammar}
concepts: {source: grammar}
experts: {k: 4}
generation: {enabled: true}
""")


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        (ExtractionSettings(), lambda study: study.extraction),
        (ProbeSettings(), lambda study: study.probes),
        (AlignmentSettings(), lambda study: study.experts),
        (ExpertSettings(k=4), lambda study: study.experts),
        (GenerationSettings(k=4), lambda study: study.generation),
        (AuditSettings(), lambda study: study.audit),
        (TrainingSettings(**TRAINING), lambda study: study.models["small-seed0"].training),
        (ReportSettings(), lambda study: study.report),
        (Granularity(), lambda study: study.granularity),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_notebook_and_a_study_have_the_same_defaults(settings, part):
    of_study = part(load_study(BARE)).model_dump()
    own = settings.model_dump()
    shared = set(own) & set(of_study) - {"k"}
    assert shared
    assert {name: own[name] for name in shared} == {name: of_study[name] for name in shared}


def test_these_are_the_defaults_of_studies_so_far():
    training = TrainingSettings(**TRAINING)
    assert (training.betas, training.weight_decay, training.schedule) == ((0.9, 0.999), 0.01, "constant")
    assert (ExtractionSettings().sites, ExtractionSettings().max_length) == (("mlp_act",), 128)
    assert (ProbeSettings().anchor_min_languages, GenerationSettings(k=1).samples) == (2, 16)


def test_numbers_stay_as_they_were_written():
    assert repr(TrainingSettings(**TRAINING, clip_norm=1).clip_norm) == "1"
    assert repr(load_study(BARE).models["small-seed0"].training.clip_norm) == "1"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ExtractionSettings(poolings=["min"]),
            r"`extraction.poolings\[0\]`: got 'min'; allowed: max, mean, last",
        ),
        (lambda: ProbeSettings(seed=True), "`probes.seed`: got True; allowed: a whole number"),
        (lambda: TrainingSettings(**TRAINING, schedule="linear"), "`training.decay_steps`: got None"),
        (lambda: ExpertSettings(), "`experts`: got {}; allowed: exactly one of k, share"),
        (
            lambda: GenerationSettings(k=4, sample=3),
            "keys here are samples, .*\nhint: did you mean `samples`",
        ),
    ],
)
def test_a_notebook_is_told_as_a_study_is(make, message):
    with pytest.raises(StudyError, match=message):
        make()


@pytest.mark.parametrize("key", ["decay_steps", "clip_norm"])
def test_an_empty_value_is_an_error_in_a_study_only(key):
    assert getattr(TrainingSettings(**TRAINING, **{key: None}), key) is None
    config = yaml.safe_load(yaml.safe_dump(BARE))
    config["models"]["small"]["training"][key] = None
    with pytest.raises(
        StudyError, match=f"training.{key}`: got None; allowed: a .*number\nhint: nothing stands"
    ):
        load_study(config)


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        ExtractionSettings().batch_size = 3


def test_the_sites_of_the_architectures_are_told():
    said = described(ExtractionSettings)["sites"]
    assert all(re.search(rf"\b{site}\b", said) for site in SITES)


def test_reading_a_study_is_light():
    code = "import sys, babelscope.study.loading; print({'numpy', 'torch', 'transformers', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "path", ["workflow/schemas/config.schema.yaml", "config/README.md", "docs/suites.md"]
)
def test_what_is_made_of_the_classes_is_up_to_date(path):
    there = (ROOT / path).read_text(encoding="utf-8")
    made = runpy.run_path(str(ROOT / "docs/make_keys.py"))["pages"]()[ROOT / path]
    diff = "\n".join(
        difflib.unified_diff(there.splitlines(), made.splitlines(), "is", "should be", lineterm="")
    )
    assert there == made, f"run `make docs`, which changes {path} so:\n{diff}"


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("**/*.yaml")), ids=lambda path: path.name)
def test_editors_take_every_shipped_study(path):
    """The schema says no less than the classes; jsonschema is what an editor has."""
    config = yaml.safe_load(path.read_text())
    if "study" not in config or "extends" in config:
        pytest.skip("no whole study")
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    jsonschema.Draft202012Validator(schema).validate(config)


@pytest.mark.parametrize(
    ("part", "value"),
    [("experts", {}), ("extraction", {"sites": ["a b"]}), ("report", {"figure_formats": ["png"]}), ("seed", -1),
     ("langauges", []), ("probes", {"test_share": 1}), ("audit", None), ("models", {})],
)  # fmt: skip
def test_editors_refuse_what_the_classes_refuse(part, value):
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    jsonschema.Draft202012Validator(schema).validate(BARE)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({**BARE, part: value})
    with pytest.raises(StudyError):
        load_study({**BARE, part: value})
