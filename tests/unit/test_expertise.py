"""Average precision against scikit-learn, and experts against planted truth."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom
from sklearn.metrics import average_precision_score

from babelscope.activations.store import Provenance, UnitFile, write_units
from babelscope.analysis.experts import select_experts, top
from babelscope.analysis.scores import ScoreFile, average_precision, score_files, score_units
from babelscope.errors import DataError, NumericsError, StoreError, StudyError
from babelscope.io.cells import CellTables, cell_name
from babelscope.io.h5 import atomic_h5
from babelscope.io.tables import write_table

SITES = {(1, "mlp_act"): 12, (2, "mlp_act"): 12}


def by_sklearn(values, labels):
    """One call per unit and concept."""
    rows = []
    for concept in range(labels.shape[1]):
        used = labels[:, concept] >= 0
        truth = labels[used, concept]
        rows.append(
            [average_precision_score(truth, values[used, u].astype(float)) for u in range(values.shape[1])]
        )
    return np.array(rows)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(4, 60),
    levels=st.integers(1, 6),
    dtype=st.sampled_from([np.float16, np.float32]),
    excluded=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_equals_scikit_learn_with_ties(seed, n, levels, dtype, excluded):
    rng = np.random.default_rng(seed)
    values = (rng.integers(-levels, levels + 1, size=(n, 5)) / 3).astype(dtype)
    labels = (rng.random((n, 4)) < 0.4).astype(np.int8)
    if excluded:
        labels[rng.random((n, 4)) < 0.3] = -1
    labels[0], labels[1] = 1, 0
    found = average_precision(values, labels, block_units=2, threads=2)
    assert np.abs(found - by_sklearn(values, labels)).max() < 1e-12


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_minus_zero_ties_with_zero(dtype):
    values = np.array([[0.0], [-0.0], [0.0], [-0.0]], dtype=dtype)
    labels = np.array([[1], [0], [0], [1]], dtype=np.int8)
    assert average_precision(values, labels)[0, 0] == 0.5


def test_known_values():
    values = np.array([[3.0], [2.0], [1.0], [0.0]], dtype=np.float32)
    perfect = np.array([[1], [1], [0], [0]], dtype=np.int8)
    worst = 1 - perfect
    assert average_precision(values, perfect)[0, 0] == 1.0
    assert average_precision(values, worst)[0, 0] == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert average_precision(values * 0, perfect)[0, 0] == 0.5  # the positive rate


def test_does_not_depend_on_the_order_of_sentences_or_on_blocks():
    rng = np.random.default_rng(0)
    values = np.maximum(rng.normal(size=(50, 9)), 0).astype(np.float32)
    labels = (rng.random((50, 3)) < 0.3).astype(np.int8)
    order = rng.permutation(50)
    whole = average_precision(values, labels)
    assert np.array_equal(whole, average_precision(values[order], labels[order], block_units=4, threads=2))


def test_refuses_what_has_no_answer():
    values = np.zeros((4, 2), dtype=np.float32)
    with pytest.raises(ValueError, match=r"none in columns \[1\]"):
        average_precision(values, np.array([[1, 0]] * 4, dtype=np.int8))
    with pytest.raises(ValueError, match="same N"):
        average_precision(values, np.ones((3, 1), dtype=np.int8))
    with pytest.raises(ValueError, match="a label is 1, 0 or -1; got 2"):
        average_precision(values, np.array([[1], [0], [2], [0]], dtype=np.int8))
    with pytest.raises(ValueError, match="float16 or float32; got int64"):
        average_precision(values.astype(int), np.ones((4, 1), dtype=np.int8))
    values[2, 1] = np.nan
    with pytest.raises(NumericsError, match="sentence 2, unit 1 is nan"):
        average_precision(values, np.ones((4, 1), dtype=np.int8))


def make_units(path, values, ids, lang="en", model="m", step=1):
    provenance = Provenance(
        model=model, step=step, lang=lang, weights_hash="w", tokenizer_hash="t", corpus_hash="c",
        sites=("mlp_act",), pooling="max", dtype="float32",
    )  # fmt: skip
    cell = f"{step}/{lang}"
    half = values.shape[1] // 2
    block = {(1, "mlp_act"): values[:, :half], (2, "mlp_act"): values[:, half:]}
    with atomic_h5(path, kind="units") as file:
        write_units(file.create_group(cell), provenance, ids, SITES, [(0, block)])
    return UnitFile(path, cell)


def score(path, labels, *units, **settings):
    """Scores of unit files, a group for each, in one file."""
    with atomic_h5(path, kind="scores") as file:
        for each in units:
            cell = cell_name(each.provenance.step, each.provenance.lang)
            score_units(each, labels, file.create_group(cell), **settings)
    return ScoreFile(path, cell)


def make_labels(ids, concepts):
    return pd.DataFrame(
        [
            {"concept": concept, "sentence_id": name, "label": int(name.startswith(concept))}
            for concept in concepts
            for name in ids
        ]
    )


@pytest.fixture
def planted(tmp_path):
    """Unit 5 of layer 2 is high exactly on the sentences of `dog`."""
    rng = np.random.default_rng(1)
    concepts = ("dog", "sea", "sun")
    ids = [f"{concept}-{i:04d}" for concept in concepts for i in range(20)]
    values = rng.normal(size=(60, 24)).astype(np.float32)
    values[:20, 12 + 5] += 50
    units = make_units(tmp_path / "u.h5", values, ids)
    labels = make_labels(ids, concepts)
    return score(tmp_path / "s.h5", labels, units, min_positive=20), values, labels, ids


def test_scores_match_the_stored_activations(planted):
    scores, values, _, ids = planted
    for subset, rows in (("all", range(60)), ("a", range(0, 60, 2)), ("b", range(1, 60, 2))):
        rows = list(rows)
        truth = np.array([[ids[r].startswith(c) for c in scores.concepts] for r in rows], dtype=np.int8)
        found = np.concatenate([scores.read(layer, "mlp_act", f"ap_{subset}") for layer in (1, 2)], axis=1)
        assert np.abs(found - by_sklearn(values[rows], truth)).max() < 1e-12
    assert scores.positive_rate == pytest.approx([1 / 3] * 3)
    assert scores.read(2, "mlp_act", "median")[0, 5] == np.median(values[:20, 17])


def test_finds_the_planted_expert_on_both_halves(planted):
    scores, *_ = planted
    experts = select_experts(scores, k=3)
    first = experts.query("concept == 'dog' and scope == 'model' and rank == 0")
    assert len(first) == 3
    assert (first[["layer", "unit"]] == [2, 5]).all(axis=None)
    assert (first["ap"] == 1).all()
    assert first.loc[first["subset"] != "all", "held_out_ap"].eq(1).all()
    assert first.loc[first["subset"] == "all", "held_out_ap"].isna().all()
    assert (experts.groupby(["scope", "subset", "concept"])["rank"].count().loc["model"] == 3).all()


def test_gather_reads_pairs_of_concept_and_unit(planted):
    scores, *_ = planted
    whole = np.concatenate([scores.read(layer, "mlp_act", "ap_all") for layer in (1, 2)], axis=1)
    concepts, units = np.array([0, 1, 0, 2, 0]), np.array([17, 0, 17, 11, 12])
    assert scores.gather("ap_all", concepts, units).tolist() == whole[concepts, units].tolist()
    assert scores.gather("ap_all", concepts[:0], units[:0]).shape == (0,)


def test_equal_scores_go_by_unit_order():
    assert top(np.array([1.0, 2.0, 2.0, 2.0, 0.0]), 2).tolist() == [1, 2]
    assert top(np.zeros(5), 3).tolist() == [0, 1, 2]
    assert top(np.array([3.0, 1.0]), 2).tolist() == [0, 1]


def test_k_larger_than_the_number_of_units(planted):
    with pytest.raises(StudyError, match=r"`experts.k`: got 25; allowed: at most the number of units, 24"):
        select_experts(planted[0], k=25)


def test_rows_join_by_id(planted, tmp_path):
    _, values, labels, ids = planted
    stranger = pd.concat([labels, pd.DataFrame([{"concept": "dog", "sentence_id": "dog-0099", "label": 1}])])
    units = make_units(tmp_path / "v.h5", values, ids)
    with pytest.raises(StoreError, match="dog-0099"):
        score(tmp_path / "x.h5", stranger, units)
    assert not (tmp_path / "x.h5").exists()


def test_labels_that_contradict_are_refused(planted, tmp_path):
    _, values, labels, ids = planted
    units = make_units(tmp_path / "v.h5", values, ids)
    twice = pd.concat([labels, labels.iloc[[3]].assign(label=0)])
    with pytest.raises(DataError, match="1 labels stand twice; the first is dog-0003 for dog"):
        score(tmp_path / "x.h5", twice, units)
    with pytest.raises(DataError, match="label of dog-0000 for dog is 7, not 1 or 0"):
        score(tmp_path / "x.h5", labels.assign(label=[7, *labels["label"][1:]]), units)


def test_experts_are_the_best_of_all_units_however_they_are_stored(planted):
    """Site by site gives the same as one stable sort of everything, ties between sites included."""
    scores, *_ = planted
    whole = {
        name: np.concatenate([scores.read(layer, "mlp_act", name) for layer in (1, 2)], axis=1)
        for name in ("ap_all", "ap_a", "ap_b", "median")
    }
    tied = {**whole, "ap_a": np.round(whole["ap_a"], 1), "ap_all": np.ones((3, 24))}
    scores.read = lambda layer, site, name: tied[name][:, 12 * (layer - 1) : 12 * layer]
    for k in (1, 7, 24):
        experts = select_experts(scores, k=k)
        for subset, other in (("all", None), ("a", "ap_b"), ("b", "ap_a")):
            for c, concept in enumerate(scores.concepts):
                found = experts[(experts["subset"] == subset) & (experts["concept"] == concept)]
                found = found[found["scope"] == "model"]
                order = np.argsort(-tied[f"ap_{subset}"][c], kind="stable")[:k]
                assert ((found["layer"] - 1) * 12 + found["unit"]).tolist() == order.tolist()
                assert found["rank"].tolist() == list(range(k))
                assert found["ap"].tolist() == tied[f"ap_{subset}"][c, order].tolist()
                assert found["forced_value"].tolist() == tied["median"][c, order].tolist()
                if other:
                    assert found["held_out_ap"].tolist() == tied[other][c, order].tolist()
        layers = experts.query("scope == 'layer' and subset == 'all'")
        assert (layers.groupby(["layer", "concept"]).size() == max(1, round(k / 2))).all()


def test_sentences_sorted_by_concept_give_ties_to_no_one():
    """Rectified random units tie at 0; a sort that keeps the order of sentences, here grouped by
    concept, gives the ties to the first concepts in every language alike."""
    n_concepts, n_units, k = 8, 400, 20
    labels = np.repeat(np.eye(n_concepts, dtype=np.int8), 10, axis=0)

    def by_stable_sort(values):
        ap = np.empty((n_concepts, n_units))
        for unit in range(n_units):
            hits = labels[np.argsort(-values[:, unit], kind="stable")]
            precision = hits.cumsum(axis=0) / np.arange(1, len(hits) + 1)[:, None]
            ap[:, unit] = (precision * hits).sum(axis=0) / 10
        return ap

    def surplus(score_of):
        """Overlap of the same concept minus that of different ones, mean over four sets of units."""
        found = []
        for study in range(4):
            # A unit that rarely fires does so in every language: so do real ones.
            threshold = np.random.default_rng(study).uniform(0.5, 2.5, size=n_units)
            sets = []
            for lang in range(3):
                values = np.random.default_rng([study, lang]).normal(size=(80, n_units)) - threshold
                ap = score_of(np.maximum(values, 0).astype(np.float32))
                sets.append([set(top(row, k).tolist()) for row in ap])
            shared = np.mean(
                [[[len(a & b) / k for b in sets[j]] for a in sets[i]] for i, j in ((0, 1), (0, 2), (1, 2))],
                axis=0,
            )
            same = np.trace(shared)
            found.append(same / n_concepts - (shared.sum() - same) / (n_concepts * (n_concepts - 1)))
        return np.mean(found)

    noise = hypergeom(n_units, k, k).std() / k / np.sqrt(4 * 3 * n_concepts)
    assert surplus(by_stable_sort) > 8 * noise
    assert abs(surplus(lambda values: average_precision(values, labels))) < 4 * noise


def test_memory_is_bounded_by_the_block():
    values = np.random.default_rng(0).normal(size=(500, 1024)).astype(np.float32)
    labels = np.zeros((500, 2), dtype=np.int8)
    labels[:50] = 1
    average_precision(values[:, :1], labels)

    def peak(block_units):
        tracemalloc.start()
        average_precision(values, labels, block_units=block_units)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    # Beside a block there are the result and the check for finite values.
    rest = 2 * 1024 * 8 + values.size
    for block_units in (64, 512):
        assert peak(block_units) < block_units * 500 * 20 + rest + 100_000


def test_too_few_sentences(planted, tmp_path):
    _, values, labels, ids = planted
    units = make_units(tmp_path / "v.h5", values, ids)
    with pytest.raises(DataError, match="dog has 20 positive sentences, needs 21"):
        score(tmp_path / "x.h5", labels, units, min_positive=21)


def test_shuffled_labels_score_at_the_positive_rate():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(400, 200)).astype(np.float32)
    labels = np.zeros((400, 1), dtype=np.int8)
    labels[rng.choice(400, 100, replace=False)] = 1
    mean = average_precision(values, labels).mean()
    assert mean == pytest.approx(0.25, abs=0.01)


# ------------------------------------------------------------------------------ files of many cells


def many_cells(folder):
    """Two steps of two languages: the scores in a file for each step, all experts in one."""
    ids = [f"{concept}-{i:04d}" for concept in ("dog", "sea") for i in range(8)]
    labels = make_labels(ids, ("dog", "sea"))
    for step in (4, 16):
        units = [
            make_units(
                folder / f"{step}-{lang}.h5",
                np.random.default_rng([step, at]).normal(size=(16, 24)).astype(np.float32),
                ids,
                lang=lang,
                step=step,
            )
            for at, lang in enumerate(("en", "de"))
        ]
        score(folder / f"{step}.h5", labels, *units)
    return [folder / "4.h5", folder / "16.h5"]


def test_scores_are_found_by_what_their_groups_say(tmp_path):
    paths = many_cells(tmp_path)
    found = score_files(paths[::-1])
    assert set(found) == {(4, "en"), (4, "de"), (16, "en"), (16, "de")}
    for (step, lang), scores in found.items():
        assert (scores.provenance.step, scores.provenance.lang) == (step, lang)
    wanted = [(16, "en"), (4, "de")]
    assert list(score_files(paths, wanted)) == wanted
    with pytest.raises(DataError, match=r"lack step 8, language en \(1 of 2 cells\)"):
        score_files(paths, [(8, "en"), (4, "en")])
    with pytest.raises(StoreError, match="has no cell 8/en; it has 4/de, 4/en"):
        ScoreFile(paths[0], "8/en")
    scores = found[4, "en"]
    assert (scores.read(1, "mlp_act", "ap_all") != found[4, "de"].read(1, "mlp_act", "ap_all")).any()


def test_equal_scores_give_equal_bytes(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        many_cells(tmp_path / folder)
    assert (tmp_path / "one/4.h5").read_bytes() == (tmp_path / "two/4.h5").read_bytes()


def test_experts_are_found_by_their_columns(tmp_path):
    scores = score_files(many_cells(tmp_path))
    tables = {cell: select_experts(file, k=3) for cell, file in scores.items()}
    write_table(pd.concat(tables.values(), ignore_index=True), tmp_path / "all.parquet")
    for cell, table in tables.items():
        write_table(table, tmp_path / f"{cell_name(*cell).replace('/', '-')}.parquet")
    single = sorted(tmp_path.glob("*-*.parquet"))
    for found in (CellTables([tmp_path / "all.parquet"]), CellTables(single)):
        assert set(found) == set(tables)
        for cell, table in tables.items():
            pd.testing.assert_frame_equal(found[cell], table)
    with pytest.raises(DataError, match=r"step 4, language de, which .* holds too"):
        CellTables([*single, tmp_path / "all.parquet"])
