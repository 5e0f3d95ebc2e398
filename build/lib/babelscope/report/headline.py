"""What a study found in three sentences, for people who read no more; made of the table of claims alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from babelscope.report.words import say, words


def headline(claims: pd.DataFrame) -> list[str]:
    """Which findings were found, what languages share, and what one unit tells.

    Args:
        claims: As :func:`babelscope.report.findings.evaluate.claims_table` has it. The sentences are about
            its first main model, or the first one if none is.

    Returns:
        Three sentences; none without a claim.
    """
    if claims.empty:
        return []
    main = claims[claims["role"] == "main"] if (claims["role"] == "main").any() else claims
    of_model = main[main["model"] == main["model"].iloc[0]].drop_duplicates("finding").set_index("finding")
    paper = of_model["number"].astype(str).str.isdigit()  # 2b is the second half of a finding
    verdicts = list(of_model["verdict"][paper])
    parts = [f"{n} {how['verb']}" for v, how in words()["verdicts"].items() if (n := verdicts.count(v))]
    told = [say("headline findings", n=len(verdicts), model=of_model["model"].iloc[0], parts=parts)]
    for finding in ("expert_overlap", "reliable_units"):
        row = of_model.loc[finding].to_dict() if finding in of_model.index else {"value": np.nan}
        known = np.isfinite(row["value"]) and np.isfinite(row["null"])
        control = _control(claims, finding)
        given = {**_numbers(row), "control": control} if known else {}
        told.append(say(f"headline {'' if known else 'no '}{finding}", **given))
    return told


def _control(claims: pd.DataFrame, finding: str) -> str:
    """The same number of the first control, which no number is told without; empty if there is none."""
    if not (claims["role"] == "main").any():  # the sentences are about a control
        return ""
    of_controls = claims[(claims["role"] == "control") & (claims["finding"] == finding)]
    values = of_controls["value"][np.isfinite(of_controls["value"])]
    return say(f"headline control of {finding}", value=float(values.iloc[0])) if len(values) else ""


def _numbers(claim: dict[str, Any]) -> dict[str, Any]:
    """The number of a claim beside its null, and whether its interval tells the two apart."""
    if not (np.isfinite(claim["low"]) and np.isfinite(claim["high"])):
        sure = "no interval"
    elif claim["low"] > claim["null"]:
        sure = "more"
    else:
        sure = "less" if claim["high"] < claim["null"] else "not apart"
    return {**{key: float(claim[key]) for key in ("value", "null")}, "step": claim["step"], "sure": sure}
