"""A study whose units are latents: scored, traced and forced as units are, and as the library scores them."""

import numpy as np
import pytest

import babelscope as bs
from babelscope.analysis.generation import FORCED, RANDOM, RANDOM_DOSE, UNFORCED
from babelscope.io.tables import read_table
from babelscope.text.sentences import read_sentences
from dictionaries import tensors, write_scope

pytestmark = pytest.mark.workflow

N, LAYER, STEP = 24, 2, 4


def test_latents_are_units_like_others(finished, tmp_path):
    study = finished.copy(tmp_path)
    write_scope(tmp_path / "data/sae/2", tensors(16, N))
    sae = {"path": "{data}/sae/{layer}", "site": "resid", "layers": [LAYER]}
    study.config["models"]["tiny"]["dictionaries"] = {"sae": sae}
    study.config["extraction"]["sites"] = ["sae"]
    study.config["experts"] |= {"k": 4, "kept": N}
    study.config["granularity"] = {"steps_per_job": 2, "languages_per_job": 3}
    study.config |= {"keep_activations": False, "keep_scores": False}
    tables = [
        study.results / f"tables/{name}" for name in ("reliability.parquet", "models.tsv", "traces.parquet")
    ]
    texts = study.results / f"generation/tiny-seed0/{STEP}.texts.parquet"
    targets = [str(path.relative_to(tmp_path)) for path in (*tables, texts)]
    assert study.planned(*targets)["pretrain_step"] == 0
    study.snakemake(*targets)

    reliability, models, traces = (read_table(path) for path in tables)
    assert set(models["n_units"]) == {N}
    best = reliability[(reliability["step"] == STEP) & (reliability["unit"] >= 0)]
    assert len(best)
    assert set(zip(best["layer"], best["site"], strict=True)) == {(LAYER, "sae")}
    assert set(zip(traces["layer"], traces["site"], strict=True)) == {(LAYER, "sae")}
    written = read_table(texts)
    assert set(written["condition"]) == {UNFORCED, FORCED, RANDOM, RANDOM_DOSE}

    settings = study.config["extraction"]
    model = bs.load_model(
        study.results / f"models/tiny-seed0/{STEP}",
        device="cpu",
        dictionaries={"sae": {**sae, "path": f"{tmp_path}/data/sae/{{layer}}"}},
    )
    langs = study.config["languages"]
    sentences = {lang: dict(read_sentences(study.results / f"sentences/{lang}.tsv")) for lang in langs}
    acts = bs.activations(
        model, sentences, sites=("sae",), max_length=settings["max_length"], batch_size=settings["batch_size"]
    )
    labels = {lang: read_table(study.results / f"concepts/{lang}.tsv") for lang in langs}
    ours = bs.experts(bs.score_units(acts, labels, seed=study.config["seed"]), k=4)
    theirs = read_table(study.results / "experts/tiny-seed0/0..4.parquet")  # others are of the run before
    theirs = theirs[(theirs["step"] == STEP) & (theirs["subset"] == "a") & (theirs["scope"] == "model")]
    ours = ours[(ours["subset"] == "a") & (ours["scope"] == "model")]
    order = ["lang", "concept", "rank"]
    ours, theirs = (table.sort_values(order).reset_index(drop=True) for table in (ours, theirs))
    assert list(ours["unit"]) == list(theirs["unit"])
    assert set(theirs["site"]) == {"sae"}
    np.testing.assert_allclose(ours["ap"], theirs["ap"])

    write_scope(tmp_path / "data/sae/2", tensors(16, N, seed=1))
    assert study.planned(targets[0])["extract_activations"] == 1
