"""Units chosen in some languages and tested in the others: against all scores, one split after the other."""

import numpy as np
import pytest

from babelscope.analysis.left_out import RULES, left_out_table, splits
from babelscope.analysis.settings import AlignmentSettings
from score_files import make_labels, make_units, rank, score

LANGS, CONCEPTS, N_UNITS = ["de", "en", "fr", "zh"], ["dog", "ice", "sea", "sun", "war"], 24
SETTINGS = AlignmentSettings(bootstrap=50)
IDS = [f"{concept}-{number}" for concept in CONCEPTS for number in range(24)]


def studied(folder, *, kept, planted=(), langs=LANGS, seed=0):
    """Scores and best units of noise, in which unit 2 c tells concept c in the languages of ``planted`` and unit
    2 c + 1 does so only in the first."""
    scores = {}
    for at, lang in enumerate(langs):
        values = np.random.default_rng([seed, at]).normal(size=(len(IDS), N_UNITS))
        for c, concept in enumerate(CONCEPTS):
            rows = [name.startswith(concept) for name in IDS]
            values[rows, 2 * c] += 4 * (lang in planted)
            values[rows, 2 * c + 1] += 8 * (at == 0 and bool(planted))
        units = make_units(folder / lang, values, IDS, lang=lang)
        scores[1, lang] = score(folder / f"{lang}.s", make_labels(IDS, CONCEPTS), units)
    best = rank(folder / "best", scores, kept=kept)
    return {lang: of for (_, lang), of in scores.items()}, {lang: best[1, lang] for lang in langs}


def test_all_splits_of_a_size_are_taken_or_some_in_which_each_language_chooses_as_often():
    assert splits(4, 2, 0).sum(axis=1).tolist() == [2] * 6
    assert len(np.unique(splits(4, 2, 0), axis=0)) == 6
    drawn = splits(12, 6, 0)
    assert len(drawn) == 24
    assert drawn.sum(axis=1).tolist() == [6] * 24
    assert drawn.sum(axis=0).tolist() == [12] * 12
    assert (splits(12, 6, 0) == splits(12, 6, 0)).all()
    assert (splits(12, 6, 0) != splits(12, 6, 1)).any()


def plane(scores, subset):
    """AP of every language, concept and unit on a subset."""
    return np.stack(
        [
            np.concatenate(
                [of.read(layer, site, f"ap_{subset}") for layer, site, _ in of.units.sites], axis=1
            )
            for of in scores.values()
        ]
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_it_is_what_all_scores_give(size, rule, tmp_path):
    scores, best = studied(tmp_path, kept=N_UNITS, planted=LANGS)
    own, other, worst = [], [], []
    for half, tested in (("a", "b"), ("b", "a")):
        chosen_LCU, tested_LCU = plane(scores, half), plane(scores, tested)
        for of_split in splits(4, size, SETTINGS.seed):
            for c in range(len(CONCEPTS)):
                looked_at = chosen_LCU[of_split, c]
                unit = np.argmax(looked_at.min(axis=0) if rule == "worst" else looked_at.mean(axis=0))
                own.append(tested_LCU[~of_split, c, unit].mean())
                worst.append(tested_LCU[~of_split, c, unit].min())
                other.append(np.delete(tested_LCU[~of_split, :, unit], c, axis=1).mean())
    table = left_out_table(best, SETTINGS)
    rows = table[(table["rule"] == rule) & (table["chosen_in"] == size)]
    row = rows[(rows["lang"] == "*") & (rows["concept"] == "*")].iloc[0]
    assert row["ap"] == pytest.approx(np.mean(own), abs=1e-6)
    assert row["ap_other_concepts"] == pytest.approx(np.mean(other), abs=1e-6)
    assert row["worst_ap"] == pytest.approx(np.mean(worst), abs=1e-6)
    both = (plane(scores, "a") + plane(scores, "b")) / 2
    assert row["ap_random_units"] == pytest.approx(both.mean(), abs=1e-6)
    assert row["at_most"] == 0
    assert row["low"] <= row["ap"] <= row["high"]
    for column, names in (("lang", LANGS), ("concept", CONCEPTS)):
        single = rows[rows[column] != "*"]
        assert single[column].tolist() == names
        assert single["ap"].mean() == pytest.approx(row["ap"])


def means(best):
    table = left_out_table(best, SETTINGS)
    rows = table[(table["lang"] == "*") & (table["concept"] == "*") & (table["rule"] == "worst")]
    return rows.set_index("chosen_in")


def test_a_unit_of_all_languages_is_found_in_those_left_out_and_that_of_one_is_not(tmp_path):
    found = means(studied(tmp_path, kept=N_UNITS, planted=LANGS)[1])
    assert found.loc[3, "ap"] > 0.95
    assert found.loc[1, "ap"] < found.loc[2, "ap"]  # the first language alone takes its own unit
    assert found.loc[3, "low"] > found.loc[3, "ap_other_concepts"]


def test_of_noise_nothing_is_left(tmp_path):
    found = means(studied(tmp_path, kept=N_UNITS, seed=3)[1])
    for row in found.itertuples():
        assert row.low < row.ap_other_concepts < row.high
        assert row.ap == pytest.approx(row.chance_ap, abs=0.06)


def test_few_kept_units_are_told_and_give_the_shared_one_all_the_same(tmp_path):
    full = means(studied(tmp_path, kept=N_UNITS, planted=LANGS)[1])
    (tmp_path / "few").mkdir()
    few = means(studied(tmp_path / "few", kept=3, planted=LANGS)[1])
    assert few.loc[3, "ap"] == pytest.approx(full.loc[3, "ap"])
    (tmp_path / "none").mkdir()
    noise = means(studied(tmp_path / "none", kept=3)[1])
    assert noise.loc[3, "at_most"] > 0.5


def test_two_languages_leave_none_to_test_in(tmp_path):
    best = studied(tmp_path, kept=N_UNITS, langs=LANGS[:2], planted=LANGS)[1]
    assert left_out_table(best, SETTINGS).empty


def test_the_order_of_languages_is_no_matter(tmp_path):
    best = studied(tmp_path, kept=N_UNITS, planted=LANGS)[1]
    turned = dict(reversed(best.items()))
    assert left_out_table(best, SETTINGS).equals(left_out_table(turned, SETTINGS))
