"""Figures in as few bytes as the page needs: Matplotlib writes places to a millionth of a point."""

from __future__ import annotations

import re

_PLACES = re.compile(r'(?<= )(d|points)="([^"]*)"')
_LONG = re.compile(r"\d+\.\d{3,}")
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_INDENT = re.compile(r"\n\s+(?=<)")


def slim(svg: str) -> str:
    """The same picture in fewer bytes: places to a hundredth of a point, no metadata, no indentation."""
    shorter = _PLACES.sub(
        lambda found: f'{found[1]}="{_shortened(found[2])}"', _METADATA.sub("", svg, count=1)
    )
    return _INDENT.sub("\n", shorter)


def _shortened(places: str) -> str:
    return " ".join(_LONG.sub(lambda found: f"{float(found[0]):.2f}", places).split())
