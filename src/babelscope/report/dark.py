"""Figures that are dark where the page is: a style sheet in the SVG, for readers who prefer dark pages.

A figure stays one picture. What is neutral in it (paper, ink, grid) gets the colours of the dark page; lines
that would be too dark on it are mixed with white. Cells of heat maps stay as they are, since their colour bar
does, and so does what is written on them.
"""

from __future__ import annotations

import re

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from babelscope.report.figures.style import GREY, INK, ON_CELL, PALE, SETTINGS

#: The dark page's panel, as report.css has it.
PANEL = "#1b2127"

#: Colours of the dark page, by what they stand for in a figure.
_NEUTRAL = {
    "#ffffff": PANEL,
    INK: "#e4e8ec",
    SETTINGS["axes.edgecolor"]: "#6b7682",
    SETTINGS["grid.color"]: "#313a43",
    GREY: "#a3afbb",
    PALE: "#66717c",
}
#: Contrast with the panel that lines have at least: what WCAG 2 asks of text, since names have their colour.
_CONTRAST = 4.5

_COLOUR = re.compile(r"(fill|stroke): (#[0-9a-f]{6})")
_ELSEWHERE = f':not([id^="QuadMesh"] *, [id^="{ON_CELL}"] *)'


def with_dark_mode(svg: str) -> str:
    """An SVG of Matplotlib that is dark where dark pages are preferred."""
    rules = [
        f'[style*="{kind}: {colour}"]{_ELSEWHERE}{{{kind}:{dark}!important}}'
        for kind, colour in dict.fromkeys(_COLOUR.findall(svg))
        if (dark := _NEUTRAL.get(colour) or _lightened(colour)) != colour
    ]
    sheet = f"<style>@media (prefers-color-scheme: dark){{{''.join(rules)}}}</style>"
    return svg.replace("</defs>", f"</defs>{sheet}", 1)


def _lightened(colour: str) -> str:
    """The colour, mixed with so much white that it stands out from the dark panel."""
    shares = np.linspace(0, 1, 21)
    mixed = (mpl.colors.to_hex(tuple(_rgb(colour) * (1 - share) + share)) for share in shares)
    return next(each for each in mixed if contrast(each, PANEL) >= _CONTRAST)


def contrast(one: str, other: str) -> float:
    """Ratio of the luminances of two colours, from 1 to 21, as WCAG 2 has it."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _rgb(colour: str) -> NDArray[np.float64]:
    return np.array(mpl.colors.to_rgb(colour))


def _luminance(colour: str) -> float:
    rgb = _rgb(colour)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
