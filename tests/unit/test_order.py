"""No result depends on the order in which a study lists its languages, concepts or sites."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from babelscope.analysis.alignment import align_experts
from babelscope.analysis.experts import select_experts
from babelscope.analysis.lifelines import lifespans, trace_units
from babelscope.analysis.reliability import search_units
from babelscope.analysis.settings import AlignmentSettings
from babelscope.analysis.texts import count_hits, summarise_generation
from babelscope.errors import StudyError
from babelscope.study.checks import check_text
from babelscope.study.loading import load_study
from babelscope.text.kinship import compare_languages
from score_files import make_labels, make_units, rank, score

LANGS, CONCEPTS = ["de", "en", "ru", "zh"], ["dog", "ice", "sea", "sun", "war"]
SITES = {(1, "attn_out"): 12, (1, "mlp_act"): 16}
SETTINGS = AlignmentSettings(bootstrap=40, permutations=40)
STEPS = (1, 2)


def same(one, other):
    """Whether two tables have the same rows, in whatever order."""
    keys = [name for name in one.columns if one[name].dtype.kind not in "f"]
    tables = [
        table.sort_values(keys, kind="stable", key=lambda column: column.astype(str)).reset_index(drop=True)
        for table in (one, other)
    ]
    pd.testing.assert_frame_equal(*tables, rtol=1e-9)
    return True


@given(order=st.permutations(["water", "fire", "dog", "house"]))
def test_a_number_of_concepts_to_force_does_not_depend_on_their_order(order):
    study = load_study(
        {
            "extends": "config/config.yaml",
            "concepts": {"ids": list(order)},
            "generation": {"concepts": 2},
        }
    )
    assert set(study.generation_concepts) == {"dog", "fire"}


def analysed(folder, langs, concepts, sites):
    """All tables of the alignment of a study that lists its parts so."""
    rng = {lang: np.random.default_rng(at) for at, lang in enumerate(LANGS)}
    ids = [f"{concept}-{number}" for concept in CONCEPTS for number in range(12)]
    scores = {}
    values = {}
    for step in STEPS:
        for lang in LANGS:
            whole = rng[lang].normal(size=(len(ids), sum(SITES.values())))
            ends = np.cumsum(list(SITES.values()))[:-1]
            values[step, lang] = dict(zip(SITES, np.split(whole, ends, axis=1), strict=True))
            for at, concept in enumerate(CONCEPTS):  # a unit that all languages share
                values[step, lang][1, "mlp_act"][[name.startswith(concept) for name in ids], at] += step
    for step in STEPS:
        for lang in langs:
            columns = np.concatenate([values[step, lang][place] for place in sites], axis=1)
            path = folder / f"{step}-{lang}"
            units = make_units(
                path, columns, ids, {place: SITES[place] for place in sites}, lang=lang, step=step
            )
            scores[step, lang] = score(folder / f"{step}-{lang}.s", make_labels(ids, concepts), units)
    best = rank(folder / "best", scores, kept=28)
    kinship = compare_languages({lang: {concept: ["a b"] for concept in concepts} for lang in langs})
    tables, experts = {}, {cell: select_experts(file, k=4) for cell, file in best.items()}
    for step in STEPS:
        search = search_units({lang: scores[step, lang] for lang in langs}, seed=3)
        of_step = {lang: best[step, lang] for lang in langs}
        found = align_experts(of_step, search, SETTINGS, k=4, kinship=kinship)
        names = ("experts", "overlap", "transfer", "reliability", "draws")
        tables |= {f"{name} {step}": table for name, table in zip(names, found, strict=True)}
    tables["lifelines"] = trace_units(experts, best, min_languages=2, max_units=50)
    tables["lifespans"] = lifespans(experts, best, seed=3)
    tables["kinship"] = kinship
    return tables


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return analysed(tmp_path_factory.mktemp("usual"), LANGS, CONCEPTS, list(SITES))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(langs=st.permutations(LANGS), concepts=st.permutations(CONCEPTS), sites=st.permutations(list(SITES)))
def test_the_alignment_does_not_depend_on_the_order_of_lists(usual, tmp_path_factory, langs, concepts, sites):
    other = analysed(tmp_path_factory.mktemp("other"), langs, concepts, sites)
    assert other.keys() == usual.keys()
    assert all(same(table, other[name]) for name, table in usual.items())
    assert len(usual["lifelines"])
    assert (usual["overlap 2"]["overlap"] > 0).any()


FORMS = {
    "house": {"en": ["house"], "es": ["casa"], "de": ["Haus"], "fr": ["maison"]},
    "water": {"en": ["water"], "es": ["agua"], "de": ["Wasser"], "fr": ["eau"]},
    "sun": {"en": ["sun"], "es": ["sol"], "de": ["Sonne"], "fr": ["soleil"]},
}


def generated(langs, concepts):
    """Texts of every source language and concept in the order of the study, and their languages."""
    rows = []
    for lang in langs:
        for concept in concepts:
            for sample in range(6):
                rng = np.random.default_rng([*lang.encode(), *concept.encode(), sample])
                wrote, spoke = rng.choice(sorted(FORMS)), rng.choice([lang, "en"])
                rows.append(("forced", lang, concept, sample, FORMS[wrote][spoke][0], rng.random(), spoke))
    for sample in range(20):
        rng = np.random.default_rng(sample)
        spoke = rng.choice(sorted(FORMS["sun"]))
        rows.append(("unforced", "*", "*", sample, FORMS["sun"][spoke][0], rng.random(), spoke))
    columns = ["condition", "lang", "concept", "sample", "text", "nll", "language"]
    return pd.DataFrame(rows, columns=columns).assign(model="m", step=1, seed=0, degenerate=False)


@settings(max_examples=10, deadline=None)
@given(
    langs=st.permutations(["de", "en", "es", "fr"]),
    concepts=st.permutations(sorted(FORMS)),
    among=st.permutations(["de", "en", "es", "fr"]),
)
def test_generated_texts_in_numbers_do_not_depend_on_the_order_of_lists(langs, concepts, among):
    import zlib

    def summary(langs, concepts, among):
        texts = generated(langs, concepts)
        crc = [zlib.crc32(text.encode()) for text in texts["text"]]
        detected = pd.DataFrame({"text_crc32": crc, "language": texts["language"], "confidence": 1.0})
        words = {concept: {lang: FORMS[concept][lang] for lang in among} for concept in concepts}
        hits = count_hits(texts["text"], words, among)
        return summarise_generation(
            texts,
            detected,
            hits,
            languages=among,
            spelt=dict.fromkeys(concepts, among),
            n_resamples=40,
            seed=1,
        )

    usual = ["de", "en", "es", "fr"]
    assert same(summary(usual, sorted(FORMS), usual), summary(langs, concepts, among))


FILES_STUDY = """
study: tiny
models:
  small: {source: hub, suite: pythia-70m, steps: [0, 1]}
sentences: {source: concepts}
concepts: {source: files, path: "{data}/{lang}/{concept}.{label}.txt", min_positive: 4}
experts: {k: 4}
"""


@pytest.mark.parametrize("languages", [["en", "es", "de"], ["de", "en", "es"], ["es", "de", "en"]])
def test_a_concept_that_a_language_lacks_is_named(tmp_path, monkeypatch, languages):
    monkeypatch.chdir(tmp_path)
    for lang in languages:
        for concept in ("house", "sun", "water"):
            if (lang, concept) != ("de", "sun"):
                path = Path("data", lang, f"{concept}.positive.txt")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("".join(f"{lang} {concept} {number}\n" for number in range(8)))
    study = load_study({**yaml.safe_load(FILES_STUDY), "languages": languages})
    assert study.concept_ids == ("house", "sun", "water")
    with pytest.raises(StudyError, match=r"data/de/sun.positive.txt \(sun, de, positive\).*concepts.ids"):
        check_text(study)


def test_pairs_of_languages_are_alike_in_either_direction():
    texts = {"b": {"x": ["haus"]}, "a": {"x": ["hausen"]}, "c": {"x": ["дом"]}}
    tables = [compare_languages({lang: texts[lang] for lang in order}) for order in ("abc", "cba", "bca")]
    assert all(same(tables[0], table) for table in tables)
    assert list(zip(tables[0]["lang_a"], tables[0]["lang_b"], strict=True)) == list(combinations("abc", 2))
