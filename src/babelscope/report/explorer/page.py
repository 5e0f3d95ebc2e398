"""The explorer in a page of its own: of several studies, or of one that still runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from babelscope.report.explorer.build import Explorer, page_script
from babelscope.report.explorer.linking import script_hash


def explorer_page(
    explorer: Explorer,
    *,
    title: str,
    lead: Sequence[str],
    studies: Sequence[Mapping[str, Any]] = (),
    live: str = "",
) -> str:
    """A page as HTML, complete in itself.

    Args:
        explorer: What it shows; its views are those of a report.
        title: Its heading.
        lead: Paragraphs below it.
        studies: Of each study ``name``, ``models``, ``languages`` and the ``version`` that wrote it.
        live: Version of a page that asks where it came from for a newer one, and loads that.
    """
    environment = Environment(
        loader=PackageLoader("babelscope.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = environment.loader.get_source(environment, "report.css")[0]  # type: ignore[union-attr]
    following = page_script("live") if live else ""
    scripts = [script_hash(script) for script in (explorer.script, following) if script]
    return environment.get_template("explorer_page.html.j2").render(
        title=title,
        lead=lead,
        studies=studies,
        explorer=explorer.marked(),
        live=live,
        following=Markup(following),  # ours, as the style is
        scripts=scripts,
        style=Markup(style),
    )
