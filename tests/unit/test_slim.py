"""Figures in fewer bytes: what is drawn stays where it was."""

import re
from xml.etree import ElementTree

import pytest

from babelscope.report.figures.gallery import draw, save_figure
from babelscope.report.slim import slim
from synthetic_tables import synthetic_tables

PLACES = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


@pytest.mark.parametrize("name", ["hero", "overlap_pairs"])
def test_a_figure_is_the_same_in_fewer_bytes(name, tmp_path):
    save_figure(draw(name, synthetic_tables()), tmp_path / "figure.svg")
    whole = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    small = slim(whole)
    assert len(small) < 0.9 * len(whole)
    assert slim(small) == small
    before, after = (ElementTree.fromstring(svg) for svg in (whole, small))
    before.remove(next(child for child in before if child.tag.endswith("metadata")))
    pairs = list(zip(before.iter(), after.iter(), strict=True))
    assert len(pairs) > 100
    for one, other in pairs:
        assert (one.tag, (one.text or "").strip()) == (other.tag, (other.text or "").strip())
        assert one.attrib.keys() == other.attrib.keys()
        for key, value in one.attrib.items():
            if key not in ("d", "points"):
                assert other.attrib[key] == value
                continue
            assert PLACES.sub("", value).split() == PLACES.sub("", other.attrib[key]).split()
            found = [[float(each) for each in PLACES.findall(of.attrib[key])] for of in (one, other)]
            assert found[1] == pytest.approx(found[0], abs=0.0051)


def test_text_that_looks_like_a_place_stays():
    svg = '<svg><text x="1.23456">d="0.123456" 0.123456</text></svg>'
    assert slim(svg.replace('d="', "d='").replace('" 0', "' 0")).count("0.123456") == 2
