"""The server's pages: files beside this one for the models' forms, and the addresses with their schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

# Address -> the file and its content type; the page reads the models by their own addresses.
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 56rem; margin: 0 auto; padding: 1.5rem }
pre { overflow: auto; padding: .75rem; border: 1px solid; border-radius: .4rem; font-size: .85rem }
summary { cursor: pointer; padding: .4rem 0 }
:focus-visible { outline: 3px solid Highlight }
"""


def file_text(name: str) -> str:
    """The text of one of the `FILES`."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def docs_page(openapi: Mapping[str, Any]) -> str:
    """Every address of a server, from its OpenAPI description; it needs no other machine."""
    parts = []
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            schema = json.dumps(body.get("schema", {}), indent=2, ensure_ascii=False)
            shown = f"<pre><code>{escape(schema)}</code></pre>" if body else ""
            kinds = ", ".join(operation.get("requestBody", {}).get("content", {}))
            parts.append(
                f"<details><summary><strong>{escape(method.upper())}</strong> {escape(path)} "
                f"{escape(operation.get('summary', ''))}</summary>"
                f"{f'<p>Bodies: {escape(kinds)}</p>' if kinds else ''}{shown}</details>"
            )
    link = "<p><a href='/openapi.json'>openapi.json</a></p>"
    return _page("longspan: addresses", f"<h1>Addresses</h1>{''.join(parts)}{link}")


def _page(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )
