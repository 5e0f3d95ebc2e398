"""Results belong to the weights that a checkpoint holds."""

from __future__ import annotations

import pandas as pd
import pytest

from babelscope.errors import DataError
from babelscope.report.catalogue import check_same_weights, extraction_warnings

EXTRACTION = pd.DataFrame(
    [("m", step, lang, f"hash-{step}") for step in (0, 64) for lang in ("en", "de")],
    columns=["model", "step", "lang", "weights_hash"],
)
AUDIT = pd.DataFrame({"model": "m", "step": [0, 64], "weights_hash": ["hash-0", "hash-64"]})


def test_results_of_the_same_weights_pass():
    check_same_weights(EXTRACTION, AUDIT, "mine")


def test_results_of_other_weights_are_refused_with_the_command_that_mends_them():
    changed = AUDIT.assign(weights_hash=["hash-0", "another"])
    with pytest.raises(DataError, match="model m, step 64: results are of other weights") as error:
        check_same_weights(EXTRACTION, changed, "mine")
    assert error.value.hint.endswith(
        "--forcerun results/mine/activations/m/64/en.tokens.h5 results/mine/activations/m/64/de.tokens.h5"
    )


def test_every_such_checkpoint_is_counted():
    changed = AUDIT.assign(weights_hash="another")
    with pytest.raises(DataError, match="model m, step 0 and 1 more"):
        check_same_weights(EXTRACTION, changed, "mine")


@pytest.mark.parametrize("parallel", [True, False])
def test_languages_with_files_of_their_own_lack_nothing(parallel):
    """Concept files need not be of equal length; only of parallel text a shorter one is told of."""
    extraction = pd.DataFrame(
        {"model": "m", "step": 1, "lang": ["en", "de"], "n_truncated": [0, 0], "weights_hash": "a"}
    )
    concepts = pd.DataFrame(
        {"lang": ["en", "de"], "concept": "dog", "n_positive": [8, 6], "n_negative": [20, 17]}
    )
    told = extraction_warnings(extraction, concepts, parallel=parallel)
    assert bool(told) == parallel
    assert all("Sentences that a language lacks" in text and "de 5" in text for text in told)
