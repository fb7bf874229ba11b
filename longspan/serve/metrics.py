"""Counts requests and their durations, in the form that Prometheus reads."""

from __future__ import annotations

import prometheus_client


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self.requests = prometheus_client.Counter(
            "longspan_requests", "Requests answered.", ["path", "status"], registry=self.registry
        )
        self.seconds = prometheus_client.Histogram(
            "longspan_request_seconds", "Seconds until the answer.", ["path"], registry=self.registry
        )
        self._of_path: dict[
            tuple[str, int], tuple[prometheus_client.Counter, prometheus_client.Histogram]
        ] = {}
        self.rows = prometheus_client.Counter(
            "longspan_rows", "Rows of answers.", ["model"], registry=self.registry
        )
        self.sessions = prometheus_client.Gauge(
            "longspan_sessions", "Living sessions.", registry=self.registry
        )

        self.connections = prometheus_client.Gauge(
            "longspan_connections", "Open websockets.", registry=self.registry
        )

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Count one request."""
        if (path, status) not in self._of_path:
            self._of_path[path, status] = self.requests.labels(path, str(status)), self.seconds.labels(path)
        count, duration = self._of_path[path, status]
        count.inc()
        duration.observe(seconds)

    def text(self, sessions: int, connections: int) -> str:
        """All counts; sessions: how many live; connections: websockets that are open."""
        self.sessions.set(sessions)
        self.connections.set(connections)
        return prometheus_client.generate_latest(self.registry).decode()
