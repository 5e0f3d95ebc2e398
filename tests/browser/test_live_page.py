"""The page of a study that runs, in a real browser: it loads itself anew when there is more to show."""

import threading

import pytest

from babelscope.ops.serving import PageServer
from babelscope.report.explorer.build import Explorer, build_explorer
from babelscope.report.explorer.page import explorer_page
from synthetic_explorer import small_study

pytestmark = pytest.mark.browser


class Growing:
    """A page without a step, and then with the steps of a small study."""

    def __init__(self):
        explorers = {"none": Explorer(missing="Nothing yet."), "all": build_explorer(*small_study())}
        self.pages = {
            version: explorer_page(explorer, title="t <i>", lead=["so far"], live=version)
            for version, explorer in explorers.items()
        }
        self.now = "none"

    def version(self):
        return self.now

    def html(self):
        return self.pages[self.now]


def test_it_loads_itself_anew_where_one_was_and_says_when_it_has_ended(visitor):
    page = Growing()
    with PageServer(page, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        seen = visitor(server.url + "#/matrix?s=0&k=null")
        assert seen.locator("h1").inner_text() == "t <i>"
        assert seen.locator(".missing").inner_text() == "Nothing yet."
        page.now = "all"
        seen.wait_for_selector("#explorer-root[data-ready]", timeout=10_000)
        assert "step 0" in seen.locator(".x-words").inner_text()
        assert seen.evaluate("location.hash") == "#/matrix?s=0&k=null"
        assert seen.problems == []
        assert {url.partition("#")[0] for url in seen.requests} == {server.url}
        server.shutdown()
        thread.join()
    seen.wait_for_selector("#live:not(:empty)", timeout=10_000)
    assert seen.locator("#live").inner_text() == "babelscope watch has ended, so this page stays as it is."
    assert seen.locator(".x-words").is_visible()
