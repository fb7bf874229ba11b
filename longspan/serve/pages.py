"""The server's pages: files beside this one for the models' forms, and the addresses with their schemas."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from longspan import learn

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 56rem; margin: 0 auto; padding: 1.5rem }
pre { overflow: auto; padding: .75rem; border: 1px solid; border-radius: .4rem; font-size: .85rem }
summary { cursor: pointer; padding: .4rem 0 }
:focus-visible { outline: 3px solid Highlight }
"""


def _file_text(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def learn_page() -> str:
    """The page that explains the LSTM."""
    head = '<link rel="icon" href="data:,"><link rel="stylesheet" href="/learn.css">'
    heading = (
        f'<div class="learn"><p><a href="/">The models of this server</a></p><h1>{learn.title()}</h1></div>'
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{learn.title()}</title>{head}</head>"
        f"<body>{heading}<main>{learn.body()}</main><script src='/learn.js'></script></body></html>"
    )


def _learn_style() -> str:
    ground = "background: light-dark(#fff, #0e1217); color-scheme: light dark;"
    return f"{learn.style()}body {{ margin: 0; padding: 1rem; {ground} }}\n"


# Address -> what makes the text, and its content type; the page reads the models by their own addresses.
TEXTS: dict[str, tuple[Callable[[], str], str]] = {
    "/": (partial(_file_text, "page.html"), "text/html"),
    "/page.css": (partial(_file_text, "page.css"), "text/css"),
    "/page.js": (partial(_file_text, "page.js"), "text/javascript"),
    "/page_charts.js": (partial(_file_text, "page_charts.js"), "text/javascript"),
    "/page_media.js": (partial(_file_text, "page_media.js"), "text/javascript"),
    "/learn": (learn_page, "text/html"),
    "/learn.css": (_learn_style, "text/css"),
    "/learn.js": (learn.script, "text/javascript"),
}


_WEBSOCKETS = """<h2>Websockets</h2>
<p>A websocket to <code>/models/NAME/sessions</code> begins a session, one to
<code>/models/NAME/sessions/ID</code> takes it up again. The first message says its <code>id</code>, and
whether it is <code>saved</code> over a restart of the server. Every message is answered, and closing keeps
the session.</p>
<pre><code>{"reading": ...}                a row, an event, a text, samples or a frame: {"answer": ...}
bytes                           samples of 16 bit, little-endian, one channel; or a picture (PNG, JPEG, WebP)
{"predict": {"OPTION": ...}}    what follows the readings: {"columns": ..., "rows": ..., "notes": ...}
{"generate": {"OPTION": ...}}   text of a language model: {"piece": ...} until {"answer": null}
{"end": true}                   ends the session: {"status": "ended"}, and the text of a sound</code></pre>
<p>An error is <code>{"error": "one sentence"}</code>, and the session goes on. A token is sent in the header
<code>Authorization: Bearer TOKEN</code>, or by browsers as the subprotocols <code>longspan</code> and
<code>longspan.bearer.</code> followed by the token in base64url without padding.</p>"""


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
    return _page("longspan: addresses", f"<h1>Addresses</h1>{''.join(parts)}{link}{_WEBSOCKETS}")


def _page(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )
