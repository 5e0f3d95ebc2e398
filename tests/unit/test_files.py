"""Files that say nothing of themselves are joined by their names."""

import pytest

from babelscope.errors import DataError
from babelscope.io.files import by_name


def test_files_are_joined_by_their_names_in_any_order(tmp_path):
    paths = [tmp_path / f"{lang}.tsv" for lang in ("en", "de", "zh-Hans")]
    for given in (paths, paths[::-1], map(str, paths)):
        found = by_name(given, ["de", "zh-Hans", "en"])
        assert found == {lang: tmp_path / f"{lang}.tsv" for lang in ("de", "zh-Hans", "en")}
        assert list(found) == ["de", "zh-Hans", "en"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["en.tsv"], "de: has no file; there are en.tsv"),
        (["en.tsv", "de.tsv", "fr.tsv"], "fr.tsv: is none of en, de"),
        (["en.tsv", "a/de.tsv", "b/de.tsv"], "b/de.tsv: has the name of a/de.tsv"),
    ],
)
def test_names_that_do_not_fit_are_refused(paths, message):
    with pytest.raises(DataError, match=message):
        by_name(paths, ["en", "de"])
