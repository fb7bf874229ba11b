"""Looks for the packages of a server first, so that a missing one is a sentence and no traceback."""

from __future__ import annotations

from longspan import optional

EXTRA = "serve"

for _package in ("fastapi", "uvicorn", "httptools", "prometheus_client", "websockets"):
    optional.require(_package, EXTRA, "a server")
