"""Cases of ``tests/cases/attacks``, as parameters of a test."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

_CASES = Path(__file__).resolve().parents[1] / "cases" / "attacks"


def attacks(kind: str) -> pytest.MarkDecorator:
    """The parameter ``attack`` for every case of a kind."""
    cases = yaml.safe_load((_CASES / f"{kind}.yaml").read_text(encoding="utf-8"))
    return pytest.mark.parametrize("attack", cases, ids=[case["case"] for case in cases])
