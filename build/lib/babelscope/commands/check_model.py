"""Does a checkpoint of yours do what the measures rely on? Tried on the model itself, before a study."""

from __future__ import annotations

import argparse

#: Sentences of the check: of the grammar, so that eight languages and five scripts are there.
_LANGUAGES = ("en", "es", "fr", "de", "ru", "zh", "tr", "hi")
_CONCEPTS = ("water", "house")
_SEED, _PER_CONCEPT = 0, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, and how it is run."""
    parser.add_argument("model", metavar="FOLDER|REPO", help="a Hugging Face folder, or ORG/NAME of the hub")
    parser.add_argument("--revision", help="of the repository: a branch, a tag or a commit")
    parser.add_argument("--tokenizer", help="folder of another tokenizer")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "spread"))


def run(args: argparse.Namespace) -> int:
    """Print what was found; 1 if there is a problem."""
    from babelscope.analysis.model_checks import NOT_CHECKED, check_model
    from babelscope.errors import BabelscopeError
    from babelscope.notebook import load_model
    from babelscope.ops.doctor.diagnosis import PROBLEM, Diagnosis, diagnoses_text, diagnosis_of
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
    else:
        found = [Diagnosis(*one) for one in check_model(loaded, texts)]
    print(diagnoses_text(found))
    print("\nnot checked, and no check of one checkpoint can:")
    print("\n".join(f"- {each}" for each in NOT_CHECKED))
    return int(any(one.level == PROBLEM for one in found))
