"""What Prometheus reads of the server."""

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
    """Requests, their seconds, batches, the model that answers, and (on Linux) what the process takes."""

    def __init__(self, version: str):
        disable_created_metrics()  # a line more for each figure, of no use to anyone
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("e6tag_requests", "Requests.", ("path", "status"), registry=self.registry)
        self.seconds = Histogram("e6tag_request_seconds", "Time to answer.", ("path",), registry=self.registry)
        sizes = (1, 2, 4, 8, 16, 32)
        self.batch_size = Histogram("e6tag_batch_size", "Pictures in a batch.", buckets=sizes, registry=self.registry)
        self.pictures = Gauge("e6tag_pictures_in_work", "Pictures read or waiting.", registry=self.registry)
        model = Gauge("e6tag_model", "The network and thresholds that answer.", ("version",), registry=self.registry)
        model.labels(version).set(1)


class Measure:
    """Counts requests and times them, by path and status."""

    def __init__(self, app, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope, receive, send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noted(message):
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - started)
