"""Scores and experts against planted truth; scores are the same wherever the activations come from."""

import itertools
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from babelscope.analysis.experts import kept_units, of_model, select_experts
from babelscope.analysis.precision import random_ap
from babelscope.analysis.ranking import lots_of
from babelscope.analysis.scores import ScoreFile, ScoreSettings, score_blocks, score_files, score_units
from babelscope.errors import DataError, NumericsError, StoreError, StudyError
from babelscope.io.cells import CellTables, cell_name
from babelscope.io.h5 import atomic_h5
from babelscope.io.tables import write_table
from score_files import SITES, GivenScores, by_site, make_labels, make_units, provenance, rank, score

CONCEPTS = ("dog", "sea", "sun")
IDS = [f"{concept}-{i:04d}" for concept in CONCEPTS for i in range(20)]


@pytest.fixture
def planted(tmp_path):
    """Unit 5 of layer 2 is high exactly on the sentences of `dog`."""
    values = np.random.default_rng(1).normal(size=(60, 24)).astype(np.float32)
    values[:20, 12 + 5] += 50
    units = make_units(tmp_path / "u.h5", values, IDS)
    labels = make_labels(IDS, CONCEPTS)
    return score(tmp_path / "s.h5", labels, units, min_positive=20), values, labels, units


def best_of(planted, tmp_path, kept=24):
    return rank(tmp_path / "best.h5", {(1, "en"): planted[0]}, kept=kept)[1, "en"]


def whole(scores, name):
    return np.concatenate([scores.read(layer, "mlp_act", name) for layer in (1, 2)], axis=1)


def test_scores_match_the_stored_activations(planted):
    scores, values, *_ = planted
    for subset, rows in (("all", range(60)), ("a", range(0, 60, 2)), ("b", range(1, 60, 2))):
        found = whole(scores, f"ap_{subset}")
        assert found.dtype == np.float32
        for (c, concept), unit in itertools.product(enumerate(CONCEPTS), (0, 11, 17, 23)):
            truth = [IDS[row].startswith(concept) for row in rows]
            expected = average_precision_score(truth, values[list(rows), unit])
            assert found[c, unit] == np.float32(expected)
    assert scores.positive_rate == pytest.approx([1 / 3] * 3)
    assert scores.chance_ap == pytest.approx([random_ap(10, 30)] * 3)
    assert scores.read(2, "mlp_act", "median")[0, 5] == np.median(values[:20, 17])


def test_finds_the_planted_expert_on_both_halves(planted, tmp_path):
    experts = select_experts(best_of(planted, tmp_path), k=3)
    first = experts.query("concept == 'dog' and scope == 'model' and rank == 0")
    assert len(first) == 3
    assert (first[["layer", "unit"]] == [2, 5]).all(axis=None)
    assert (first["ap"] == 1).all()
    assert first.loc[first["subset"] != "all", "held_out_ap"].eq(1).all()
    assert first.loc[first["subset"] == "all", "held_out_ap"].isna().all()
    assert (experts.groupby(["scope", "subset", "concept"])["rank"].count().loc["model"] == 3).all()


def test_what_is_kept_begins_with_the_experts(planted, tmp_path):
    best = best_of(planted, tmp_path)
    kept, experts = kept_units(best), of_model(select_experts(best, k=3))
    assert len(kept) == len(best.concepts) * best.kept
    first = kept[kept["rank"] < 3].reset_index(drop=True)
    columns = ["concept", "rank", "layer", "site", "unit", "ap", "forced_value"]
    pd.testing.assert_frame_equal(first[columns], experts[columns].reset_index(drop=True))
    assert of_model(kept)["ap"].equals(kept["ap"])


def test_k_larger_than_the_number_of_units_that_are_kept(planted, tmp_path):
    for kept, n in ((7, 7), (24, 24), (100, 24)):
        best = best_of(planted, tmp_path, kept)
        message = rf"`experts.k`: got {n + 1}; allowed: at most the number of units that are kept, {n}"
        with pytest.raises(StudyError, match=message):
            select_experts(best, k=n + 1)
        assert (select_experts(best, k=n)["k"].max()) == n


def test_rows_join_by_id(planted, tmp_path):
    _, _, labels, units = planted
    stranger = pd.concat([labels, pd.DataFrame([{"concept": "dog", "sentence_id": "dog-0099", "label": 1}])])
    with pytest.raises(StoreError, match="dog-0099"):
        score(tmp_path / "x.h5", stranger, units)
    assert not (tmp_path / "x.h5").exists()


def test_labels_that_contradict_are_refused(planted, tmp_path):
    _, _, labels, units = planted
    twice = pd.concat([labels, labels.iloc[[3]].assign(label=0)])
    with pytest.raises(DataError, match="1 labels stand twice; the first is dog-0003 for dog"):
        score(tmp_path / "x.h5", twice, units)
    with pytest.raises(DataError, match="label of dog-0000 for dog is 7, not 1 or 0"):
        score(tmp_path / "x.h5", labels.assign(label=[7, *labels["label"][1:]]), units)


def test_too_few_sentences(planted, tmp_path):
    _, _, labels, units = planted
    with pytest.raises(DataError, match="dog has 20 positive sentences, needs 21"):
        score(tmp_path / "x.h5", labels, units, min_positive=21)


def test_too_few_sentences_of_a_half_are_not_a_matter_of_the_least_number(planted, tmp_path):
    _, _, labels, units = planted
    odd = labels["sentence_id"].str[-1].astype(int) % 2 == 1
    with pytest.raises(
        DataError, match=r"in half b, needs 2\nhint: add sentences to that half \(a: ids with an even"
    ):
        score(
            tmp_path / "x.h5", labels[~(odd & (labels["label"] == 1) & (labels["concept"] == "dog"))], units
        )


def test_experts_are_the_best_of_all_units_however_they_are_stored(tmp_path):
    """Site by site gives the same as one sort of everything, ties between sites included."""
    rng = np.random.default_rng(1)
    ap = {"all": np.ones((3, 24)), "a": rng.random((3, 24)).round(1), "b": rng.random((3, 24))}
    ap = {subset: values.astype(np.float32) for subset, values in ap.items()}
    median = rng.normal(size=(3, 24)).astype(np.float32)
    given_scores = GivenScores(CONCEPTS, ap, median_CN=median)
    best = rank(tmp_path / "best.h5", {(1, "en"): given_scores}, kept=24)[1, "en"]
    for k in (1, 7, 24):
        experts = select_experts(best, k=k)
        for subset, other in (("all", None), ("a", "b"), ("b", "a")):
            for c, concept in enumerate(CONCEPTS):
                found = experts[(experts["subset"] == subset) & (experts["concept"] == concept)]
                found = found[found["scope"] == "model"]
                order = np.lexsort((lots_of(24, "en", subset, seed=0), -ap[subset][c]))[:k]
                assert ((found["layer"] - 1) * 12 + found["unit"]).tolist() == order.tolist()
                assert found["rank"].tolist() == list(range(k))
                assert found["ap"].tolist() == ap[subset][c, order].tolist()
                assert found["forced_value"].tolist() == median[c, order].tolist()
                if other:
                    assert found["held_out_ap"].tolist() == ap[other][c, order].tolist()
        layers = experts.query("scope == 'layer' and subset == 'all'")
        assert (layers.groupby(["layer", "concept"]).size() == max(1, round(k / 2))).all()


# ----------------------------------------------------------------------- a stream, or from the store


def sharing(kind, rng, n_concepts=4, per_concept=12):
    """Ids of sentences and labels of concepts that share all sentences, none or some; some have no label."""
    names = [f"c{c}" for c in range(n_concepts)]
    ids = [f"{name}-{i:04d}" for name in names for i in range(per_concept)] + ["none-0000", "none-0001"]
    rows = []
    for c, name in enumerate(names):
        # With `some`, two concepts share sentences by way of a third; the last brings its own.
        reach = {"all": names, "none": [name], "some": names[c : c + 2] if c < n_concepts - 2 else [name]}
        used = [id_ for id_ in ids if id_.split("-")[0] in reach[kind]]
        for id_ in used:
            # Half of the sentences of each half, and of the concept's own.
            positive = int(id_.split("-")[1]) // 2 % 2 == 0 if len(reach[kind]) == 1 else id_.startswith(name)
            rows.append({"concept": name, "sentence_id": id_, "label": int(positive)})
    order = rng.permutation(len(ids)) if kind != "none" else np.arange(len(ids))
    table = pd.DataFrame(rows).sample(frac=1, random_state=int(rng.integers(1000)))
    return [ids[i] for i in order], table


def scored_in_stream(path, values, ids, labels, settings, *, cuts=(), dtype="float32", further=()):
    """The scores of blocks that are cut at these rows; further poolings have other values."""
    origins = [provenance(dtype=dtype, pooling=name) for name in ("max", *further)]
    bounds = [0, *sorted(set(cuts)), len(ids)]
    pooled = of_poolings(values, further)
    blocks = (
        (start, {name: by_site(rows[start:stop]) for name, rows in pooled.items()})
        for start, stop in itertools.pairwise(bounds)
    )
    with atomic_h5(path, kind="scores") as file:
        group = file.create_group("1/en")
        score_blocks(group, labels, settings, origins, ids, SITES, blocks, lengths_of(ids))
    return path


def of_poolings(values, further):
    """By pooling: the values themselves, then such as rank sentences otherwise."""
    return {"max": values, **{name: np.roll(values, 1 + at, axis=0) for at, name in enumerate(further)}}


def lengths_of(ids):
    """Numbers of tokens, made up: long where the last digits are."""
    return [1 + int(id_[-2:]) % 7 for id_ in ids]


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["all", "none", "some"]),
    cuts=st.lists(st.integers(1, 49), max_size=8),
    background=st.booleans(),
    threads=st.sampled_from([1, 3]),
    over_disk=st.booleans(),
    block_units=st.sampled_from([5, 256]),
    dtype=st.sampled_from(["float16", "float32"]),
    further=st.sampled_from([(), ("mean",), ("last", "ml-selfcond")]),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_a_stream_and_the_store_give_the_same_bytes(
    seed, kind, cuts, background, threads, over_disk, block_units, dtype, further
):
    rng = np.random.default_rng(seed)
    ids, labels = sharing(kind, rng)
    values = np.maximum(rng.normal(size=(len(ids), 24)), -0.5).astype(np.float32)
    own = {"min_positive": 4, "block_units": block_units, "threads": threads}
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder, "stored.h5")
        with atomic_h5(stored, kind="scores") as file:
            group = file.create_group("1/en")
            for pooling, rows in of_poolings(values, further).items():
                of = {"n_tokens": lengths_of(ids), "dtype": dtype, "pooling": pooling}
                units = make_units(Path(folder, f"{pooling}.h5"), rows, ids, **of)
                score_units(units, labels, group, ScoreSettings(**own))
        streamed = scored_in_stream(
            Path(folder, "streamed.h5"), values, ids, labels, cuts=cuts, dtype=dtype, further=further,
            settings=ScoreSettings(**own, background=background, part_bytes=1 if over_disk else 2**32),
        )  # fmt: skip
        assert streamed.read_bytes() == stored.read_bytes()
        first = score(Path(folder, "first.h5"), labels, units, **own)  # of the last pooling, alone
        found = score_files([stored], pooling=further[-1] if further else "")[1, "en"]
        assert found.provenance.pooling == first.provenance.pooling
        for subset in ("ap_all", "ap_a", "ap_b", "median"):
            assert np.array_equal(found.read(2, "mlp_act", subset), first.read(2, "mlp_act", subset))


def test_length_as_a_score_is_held_out(tmp_path):
    """What is long, short, and neither: by hand, the direction chosen on the other half."""
    rng = np.random.default_rng(3)
    length_N = rng.integers(5, 60, 60)
    length_N[:20] += 100
    length_N[20:40] = rng.integers(1, 5, 20)
    units = make_units(tmp_path / "u.h5", np.zeros((60, 24), np.float32), IDS, n_tokens=length_N.tolist())
    scores = score(tmp_path / "s.h5", make_labels(IDS, CONCEPTS), units)
    halves = {"a": slice(0, 60, 2), "b": slice(1, 60, 2)}
    for concept, found in zip(CONCEPTS, scores.length_ap, strict=True):
        truth_N = np.array([id_.startswith(concept) for id_ in IDS])
        ap = {
            (half, sign): average_precision_score(truth_N[rows], sign * length_N[rows])
            for half, rows in halves.items()
            for sign in (1, -1)
        }
        better = {half: max((1, -1), key=lambda sign, half=half: ap[half, sign]) for half in halves}
        assert found == pytest.approx((ap["b", better["a"]] + ap["a", better["b"]]) / 2)
    assert scores.length_ap[:2] == pytest.approx([1, 1])
    assert scores.length_ap[2] < 0.6
    best = rank(tmp_path / "best.h5", {(1, "en"): scores}, kept=3)[1, "en"]
    assert best.length_ap.tolist() == scores.length_ap.tolist()


def test_length_is_unknown_where_no_lengths_are_stored(planted):
    assert np.isnan(planted[0].length_ap).all()


@pytest.mark.parametrize("kind", ["all", "none", "some"])
def test_a_stream_holds_the_parts_that_are_not_whole(kind, monkeypatch, tmp_path):
    """What is scored at a time are the concepts that share sentences, and only their sentences."""
    ids, labels = sharing(kind, np.random.default_rng(0))
    seen = []

    def score_values(values_PU, labels, **_):
        if values_PU.shape[1] > 2:  # not lengths
            seen.append((labels.shape, values_PU.shape))
        return SimpleNamespace(
            ap_SCU=np.zeros((3, labels.shape[1], values_PU.shape[1])),
            median_CU=np.zeros((labels.shape[1], values_PU.shape[1]), np.float32),
        )

    monkeypatch.setattr("babelscope.analysis.scores.score_values", score_values)
    values = np.zeros((len(ids), 24), np.float32)
    scored_in_stream(tmp_path / "s.h5", values, ids, labels, ScoreSettings(min_positive=4))
    parts = {"all": [(48, 4)], "none": [(12, 1)] * 4, "some": [(36, 2), (12, 1), (12, 1)]}[kind]
    if kind == "some":  # c0 has the sentences of c0 and c1, c1 those of c1 and c2: and so c2's are there
        parts = [(36, 3), (12, 1)]
    assert sorted(seen) == sorted(((n, c), (n, 12)) for n, c in parts for _ in SITES)


WAYS = {
    "stream": ScoreSettings(),
    "background": ScoreSettings(background=True, threads=2),
    "disk": ScoreSettings(part_bytes=1),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("wrong", "dtype", "said"), [(np.nan, "float32", "NaN"), (1e6, "float16", "1e+06")])
def test_a_broken_value_names_model_layer_and_sentence(tmp_path, monkeypatch, way, wrong, dtype, said):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ids, labels = sharing("none", np.random.default_rng(0))
    values = np.zeros((len(ids), 24), np.float32)
    values[[15, 16, 30], 12 + 4] = wrong
    with pytest.raises(NumericsError) as caught:
        scored_in_stream(tmp_path / "s.h5", values, ids, labels, WAYS[way], cuts=[7, 33], dtype=dtype)
    for part in (
        "model m, step 1, language en",
        "layer 2, site mlp_act",
        said,
        f"first sentence {ids[15]!r}",
    ):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", WAYS)
def test_an_error_of_the_model_stops_scoring_and_leaves_no_file(tmp_path, monkeypatch, way):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ids, labels = sharing("none", np.random.default_rng(0))

    def blocks():
        yield 0, {"max": by_site(np.zeros((30, 24), np.float32))}
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), atomic_h5(tmp_path / "s.h5", kind="scores") as file:
        score_blocks(file.create_group("1/en"), labels, WAYS[way], [provenance()], ids, SITES, blocks())
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_finds_no_room_on_the_disk_says_where(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("babelscope.analysis.scores.shutil.disk_usage", lambda _: SimpleNamespace(free=4799))
    ids, labels = sharing("none", np.random.default_rng(0))
    values = np.zeros((len(ids), 24), np.float32)
    with pytest.raises(StoreError) as caught:
        scored_in_stream(tmp_path / "s.h5", values, ids, labels, WAYS["disk"])
    said = str(caught.value)
    assert str(tmp_path) in said
    assert "4,800 bytes of pooled units must wait here until they are scored, 4,799 are free" in said
    assert "set TMPDIR" in said
    assert list(tmp_path.iterdir()) == []
    # A part that fits in memory asks for no disk.
    scored_in_stream(tmp_path / "s.h5", values, ids, labels, ScoreSettings(part_bytes=12 * 24 * 4))


def test_a_stream_refuses_labels_as_the_store_does(tmp_path):
    ids, labels = sharing("none", np.random.default_rng(0))
    values = np.zeros((len(ids), 24), np.float32)
    with pytest.raises(DataError, match="c0 has 6 positive sentences, needs 7"):
        scored_in_stream(tmp_path / "s.h5", values, ids, labels, ScoreSettings(min_positive=7))
    stranger = labels.assign(sentence_id=["c0-0099", *labels["sentence_id"][1:]])
    with pytest.raises(StoreError, match=r"sentences of en(?s:.)*c0-0099"):
        scored_in_stream(tmp_path / "s.h5", values, ids, stranger, ScoreSettings())
    assert not (tmp_path / "s.h5").exists()


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
    best = rank(tmp_path / "best.h5", score_files(many_cells(tmp_path)), kept=5)
    tables = {cell: select_experts(file, k=3) for cell, file in best.items()}
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
