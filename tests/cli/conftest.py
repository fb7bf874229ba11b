"""A slow machine writes no signs of life into what the tests of the command line read."""

from __future__ import annotations

import pytest

from longspan.cli import heartbeat


@pytest.fixture(autouse=True)
def no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL", 3600.0)
