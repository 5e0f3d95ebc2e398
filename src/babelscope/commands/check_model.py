"""Does a checkpoint of yours do what the measures rely on? Tried on the model itself, before a study."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

#: Sentences of the check: of the grammar, so that eight languages and five scripts are there.
_LANGUAGES = ("en", "es", "fr", "de", "ru", "zh", "tr", "hi")
_CONCEPTS = ("water", "house")
_SEED, _PER_CONCEPT = 0, 4
#: Of a language, for what is said of memory.
_SENTENCES = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, and how it is run."""
    parser.add_argument("model", metavar="FOLDER|REPO", help="a Hugging Face folder, or ORG/NAME of the hub")
    parser.add_argument("--revision", help="of the repository: a branch, a tag or a commit")
    parser.add_argument("--tokenizer", help="folder of another tokenizer")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "spread"))


def run(args: argparse.Namespace) -> int:
    """Print what was found; 1 if there is a problem."""
    from babelscope.analysis.model_checks import NOT_CHECKED, check_model, guaranteed
    from babelscope.errors import BabelscopeError
    from babelscope.notebook import load_model
    from babelscope.ops.doctor.diagnosis import OK, PROBLEM, Diagnosis, diagnoses_text, diagnosis_of
    from babelscope.text.grammar.generate import make_sentences

    texts = {
        lang: [
            sentence.text
            for sentence in make_sentences(lang, per_concept=_PER_CONCEPT, seed=_SEED, concepts=_CONCEPTS)
        ]
        for lang in _LANGUAGES
    }
    try:
        loaded = load_model(
            args.model, revision=args.revision, tokenizer=args.tokenizer, dtype=args.dtype, device=args.device
        )
    except BabelscopeError as error:
        found = [diagnosis_of("loading", error)]
        holds = []
    else:
        checks = check_model(loaded, texts)
        found = [
            *(Diagnosis(*one) for one in checks),
            Diagnosis("memory", OK, _memory(loaded.config, args.dtype)),
        ]
        holds = guaranteed(checks)
    print(diagnoses_text(found))
    if holds:
        versions = f"transformers {version('transformers')}, {args.dtype}, {loaded.device.type}"
        print(f"\nguaranteed of this checkpoint ({versions}):")
        print("\n".join(f"- {each}" for each in holds))
    print("\nnot checked, and no check of one checkpoint can:")
    print("\n".join(f"- {each}" for each in NOT_CHECKED))
    return int(any(one.level == PROBLEM for one in found))


def _memory(config: Mapping[str, Any], dtype: str) -> str:
    """What jobs take at a study's defaults, and what this took."""
    from babelscope.capture.settings import ExtractionSettings
    from babelscope.models.dimensions import max_positions
    from babelscope.ops.sizes import extraction_memory, generation_memory
    from babelscope.ops.terminal import size

    defaults = ExtractionSettings()
    longest = min(defaults.max_length, max_positions(config) or defaults.max_length)
    settings = ExtractionSettings(max_length=longest, compute_dtype=dtype)  # type: ignore[arg-type]
    reads = extraction_memory(config, settings, n_sentences=_SENTENCES)
    writes = generation_memory(config, settings)
    return (
        f"a job that reads {_SENTENCES:,} sentences takes about {size(reads)} besides scoring, one that lets "
        f"it write {size(writes)}, weights included; babelscope plan knows those of a study"
    )
