"""Metrics of the server for Prometheus."""

import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)


class Metrics:
    """Requests, their duration, batches, the model in use, and (on Linux) memory and processor time of the process.

    Args:
        version: name of the model; see `web.app.version_of`.
    """

    def __init__(self, version: str):
        disable_created_metrics()  # they double the lines and nothing reads them
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("e6tag_requests", "Requests.", ("path", "status"), registry=self.registry)
        self.seconds = Histogram("e6tag_request_seconds", "Seconds until the answer.", ("path",), registry=self.registry)
        sizes = (1, 2, 4, 8, 16, 32)
        self.batch_size = Histogram("e6tag_batch_size", "Frames in a batch.", buckets=sizes, registry=self.registry)
        self.pictures = Gauge("e6tag_pictures_in_work", "Pictures being read or waiting.", registry=self.registry)
        model = Gauge("e6tag_model", "The network and thresholds in use.", ("version",), registry=self.registry)
        model.labels(version).set(1)


class MeasureRequests:
    """ASGI middleware that counts requests by path and status, and measures their duration by path."""

    def __init__(self, app, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope, receive, send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_and_note_status(message):
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, send_and_note_status)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - started)
