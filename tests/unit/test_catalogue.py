"""Results belong to the weights that a checkpoint holds."""

from __future__ import annotations

import pandas as pd
import pytest

from babelscope.capture.store import write_token_states
from babelscope.errors import DataError
from babelscope.io.h5 import atomic_h5
from babelscope.report.catalogue import check_same_weights, extraction_warnings
from score_files import provenance

EXTRACTION = pd.DataFrame(
    [("m", step, lang, f"hash-{step}") for step in (0, 64) for lang in ("en", "de")],
    columns=["model", "step", "lang", "weights_hash"],
)
AUDIT = pd.DataFrame({"model": "m", "step": [0, 64], "weights_hash": ["hash-0", "hash-64"]})

#: Steps of the token files, by their range.
FILES = {"0": (0,), "64": (64,), "32..64": (32, 64)}


def token_file(path, *steps):
    with atomic_h5(path, kind="tokens") as file:
        for step in steps:
            write_token_states(
                file.create_group(f"{step}/en"), provenance(model="m", step=step), token_sentence_ids=[],
                token_positions=[], token_ids=[], token_texts=[], states={}, mean_sentence_ids=[], means={},
            )  # fmt: skip
    return path


def test_results_of_the_same_weights_pass():
    check_same_weights(EXTRACTION, AUDIT, "mine")


def test_results_of_other_weights_are_refused_with_the_command_that_mends_them(tmp_path):
    changed = AUDIT.assign(weights_hash=["hash-0", "another"])
    files = [token_file(tmp_path / f"{name}.tokens.h5", *steps) for name, steps in FILES.items()]
    with pytest.raises(DataError, match="model m, step 64: results are of other weights") as error:
        check_same_weights(EXTRACTION, changed, "mine", files)
    assert error.value.hint.endswith(f"the same command with --forcerun {files[1]} {files[2]}")


def test_every_such_checkpoint_is_counted():
    changed = AUDIT.assign(weights_hash="another")
    with pytest.raises(DataError, match="model m, step 0 and 1 more"):
        check_same_weights(EXTRACTION, changed, "mine")


def test_only_parallel_sentences_can_be_lacking():
    extraction = EXTRACTION.assign(n_truncated=0, weights_hash=["a", "a", "b", "b"])
    counts = pd.DataFrame(
        {"lang": ["en", "de"], "concept": "house", "n_positive": [10, 8], "n_negative": [20, 17]}
    )
    (told,) = extraction_warnings(extraction, counts)
    assert told == "Sentences that a language lacks, such as repeated lines that were left out: de 5."
    assert extraction_warnings(extraction, counts, parallel=False) == []
