"""What concepts have in the text of a study, before it runs: sentences, hits per word, what they share."""

from __future__ import annotations

import argparse

from babelscope.commands import study_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which study."""
    study_of.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the tables; then what the study would be refused for, if anything."""
    from babelscope.ops.concepts import concepts_text, look_at_concepts
    from babelscope.study.checks import check_files_exist, check_text

    study = study_of.load(args)
    check_files_exist(study)
    print(concepts_text(look_at_concepts(study), needed=study.concepts.min_positive))
    check_text(study)
    return 0
