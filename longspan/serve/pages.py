"""Writes the server's pages as HTML without a script: the models, and the addresses with their schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 56rem; margin: 0 auto; padding: 1.5rem }
pre { overflow: auto; padding: .75rem; border: 1px solid; border-radius: .4rem; font-size: .85rem }
summary { cursor: pointer; padding: .4rem 0 }
:focus-visible { outline: 3px solid Highlight }
"""


def index_page(models: Sequence[Mapping[str, Any]]) -> str:
    """The models, each with a request to try; models: as `Server.described` gives them."""
    parts = [
        f"<section><h2>{escape(model['name'])}</h2><p>Task: {escape(model['task'])}"
        f"{', reads streams' if model['streams'] else ''}.</p>"
        f"<pre><code>{escape(_curl(model['name']))}</code></pre></section>"
        for model in models
    ]
    return _page("longspan", f"<h1>Models</h1>{''.join(parts)}<p><a href='/docs'>All addresses</a></p>")


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


def _curl(name: str) -> str:
    return (
        f"curl -X POST http://127.0.0.1:8000/models/{name}/predict "
        "-H 'Content-Type: text/csv' --data-binary @data.csv"
    )


def _page(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )
