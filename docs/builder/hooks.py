"""The hooks of mkdocs: pages that are made from the package, and tables inside written pages."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # mkdocs runs hooks as files of their own
    sys.path.insert(0, str(ROOT))

from docs.builder.measured import measured_page  # noqa: E402
from docs.builder.reference import PAGES, page_text  # noqa: E402
from docs.builder.tables import demos_table, options_table  # noqa: E402
from longspan import learn  # noqa: E402

STUBS = "LONGSPAN_DOCS_STUBS"  # set: the reference has headings alone, to check pages and links quickly
# What no page loads: maps of sources, stemmers of other languages, the index that is a script too.
UNUSED = ("**/*.map", "assets/javascripts/lunr/**/*.js", "search/search_index.json", "sitemap.xml*")
_OPTIONS = re.compile(r"^<!-- options: (\w+) ([\w ]+) -->$", re.MULTILINE)


def on_config(config: Any) -> Any:
    """Leave mkdocstrings out of a quick build."""
    if STUBS in os.environ:
        config.plugins.pop("mkdocstrings", None)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from the package and from files beside docs/."""
    pages = {page.path: page_text(page, stubs=STUBS in os.environ) for page in PAGES}
    pages["changes.md"] = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    pages["measured.md"] = measured_page()
    pages |= {"assets/learn.js": learn.script(), "assets/learn.css": learn.style()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, **rest: Any) -> str:
    """Replace `<!-- options: TASK NAME NAME -->` and `<!-- demos -->` by tables."""
    markdown = markdown.replace("<!-- demos -->", demos_table())
    return _OPTIONS.sub(lambda line: options_table(line[1], line[2].split()), markdown)


def on_page_content(html: str, page: Any, **rest: Any) -> str:
    """Put the explanation of the LSTM into its page."""
    if page.file.src_uri != "learn.md":
        return html
    style, script = (
        "<link rel='stylesheet' href='assets/learn.css'>",
        "<script src='assets/learn.js'></script>",
    )
    return f"{html}{style}{learn.body()}{script}"


@event_priority(-200)  # after the plugins, which write these files
def on_post_build(config: Any) -> None:
    """Remove what no page loads."""
    for pattern in UNUSED:
        for path in Path(config.site_dir).glob(pattern):
            path.unlink()
