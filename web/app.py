"""The server's answers: tags in the shape of Danbooru's autotagger, heat maps, events, metrics, and the page."""

import asyncio
import hashlib
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from dataset.images import ImageError
from model import inputs
from model.predict import BATCH, FRAMES, Tagger
from web.batcher import Batcher, Full
from web.events import KINDS, Events

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells of every malformed request

PAGE = Path(__file__).parent
FILES = {"page.js": "text/javascript", "style.css": "text/css"}
DEFAULT_THRESHOLD, DEFAULT_LIMIT = 0.1, 50  # the autotagger's
POLICY = "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"


@dataclass(frozen=True)
class Limits:
    """What a request may ask for.

    Attributes:
        upload_bytes: of a whole request.
        files: in a request.
        waiting: pictures that are being read or wait for the network; more are refused with 503.
    """

    upload_bytes: int = 64 * 2**20
    files: int = 32
    waiting: int = 128


class Judgement(BaseModel):
    """What became of a picture's tags."""

    picture: str = Field(pattern="^[0-9a-f]{32}$", description="MD5 of the file")
    seen: list[str] = Field([], max_length=10_000)
    added: list[str] = Field([], max_length=10_000)
    rejected: list[str] = Field([], max_length=10_000)


class Metrics:
    """What Prometheus reads."""

    def __init__(self, version: str):
        disable_created_metrics()  # a line more for each figure, of no use to anyone
        self.registry = CollectorRegistry()
        self.requests = Counter("e6tag_requests", "Requests.", ("path", "status"), registry=self.registry)
        self.seconds = Histogram("e6tag_request_seconds", "Time to answer.", ("path",), registry=self.registry)
        sizes = (1, 2, 4, 8, 16, 32)
        self.batch_size = Histogram("e6tag_batch_size", "Pictures in a batch.", buckets=sizes, registry=self.registry)
        self.pictures = Gauge("e6tag_pictures_in_work", "Pictures read or waiting.", registry=self.registry)
        model = Gauge("e6tag_model", "The network and thresholds that answer.", ("version",), registry=self.registry)
        model.labels(version).set(1)


class Service:
    """A tagger behind a queue: uploaded files ▶ probabilities."""

    def __init__(self, tagger: Tagger, limits: Limits, metrics: Metrics):
        self.tagger, self.limits, self.metrics = tagger, limits, metrics
        self._readers = ThreadPoolExecutor(os.cpu_count(), "read")
        self._batcher = Batcher(self._probabilities, BATCH, limits.waiting * FRAMES, metrics.batch_size.observe)
        self._in_work = 0

    def _probabilities(self, pixels: np.ndarray) -> np.ndarray:
        return self.tagger.scores(pixels, compiled=True)["probability"]

    async def tag(self, files: list[tuple[str, bytes]]) -> list[np.ndarray]:
        """The probabilities (tags,) of each file, by name and content.

        Raises:
            HTTPException: 400 for a file that is no picture, 503 where too many wait.
        """
        if self._in_work + len(files) > self.limits.waiting:
            raise HTTPException(503, "too many pictures are waiting; try again", {"Retry-After": "1"})
        self._in_work += len(files)
        self.metrics.pictures.set(self._in_work)
        try:
            return await asyncio.gather(*(self._tag(name, data) for name, data in files))
        finally:
            self._in_work -= len(files)
            self.metrics.pictures.set(self._in_work)

    async def _tag(self, name: str, data: bytes) -> np.ndarray:
        try:
            frames = [self._batcher.submit(pixels) for pixels in await self.read(name, data)]
        except Full:
            raise HTTPException(503, "too many pictures are waiting; try again", {"Retry-After": "1"}) from None
        return np.max(await asyncio.gather(*map(asyncio.wrap_future, frames)), axis=0)

    async def read(self, name: str, data: bytes) -> list[np.ndarray]:
        """The network's input for each frame of a file that is looked at.

        Raises:
            HTTPException: 400, it is no picture.
        """

        def frames() -> list[np.ndarray]:
            return [self.tagger.pixels(frame) for _, frame in inputs.frames(data, FRAMES)]

        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, frames)
        except ImageError as error:
            raise HTTPException(400, f"{name}: {error}") from None

    async def heat(self, name: str, data: bytes, tag: str) -> list[list[float]]:
        """Where a tag is seen in the first frame of a file; see `model.heat`."""
        from model.heat import heat_map

        index = [entry.name for entry in self.tagger.run.tags].index(tag)
        pixels = (await self.read(name, data))[0]
        work = asyncio.get_running_loop().run_in_executor(self._readers, heat_map, self.tagger.network, pixels[None], index)
        return np.round((await work)[0].astype(float), 3).tolist()

    def close(self) -> None:
        """Finish what is waiting."""
        self._readers.shutdown(cancel_futures=True)
        self._batcher.close()


def build(tagger: Tagger, version: str, events_path: Path, hosts: list[str], limits: Limits | None = None) -> FastAPI:
    """The application.

    Args:
        tagger: the run.
        version: of its network and thresholds, for metrics and events.
        events_path: the SQLite file.
        hosts: names by which the server may be called; others are refused, so that no page elsewhere can reach it
            through a name of its own.
        limits: of requests.
    """
    limits = limits or Limits()
    metrics = Metrics(version)
    service = Service(tagger, limits, metrics)
    events = Events(events_path, version)
    names = {tag.name for tag in tagger.run.tags}
    has_heat = hasattr(tagger.network, "get_layer")

    @asynccontextmanager
    async def lifespan(_: FastAPI):
        yield
        service.close()
        events.close()

    app = FastAPI(title="e6tag", version=version, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Measure, metrics=metrics)
    app.add_middleware(LimitBody, most_bytes=limits.upload_bytes)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    @app.exception_handler(StarletteHTTPException)
    async def refuse(_: Request, error: StarletteHTTPException) -> JSONResponse:
        kind = {400: "BadRequest", 404: "NotFound", 413: "RequestEntityTooLarge", 503: "ServiceUnavailable"}
        content = {"error": kind.get(error.status_code, "HTTPException"), "message": str(error.detail)}
        return JSONResponse(content, error.status_code, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, _: ClientDisconnect) -> JSONResponse:
        return await refuse(request, StarletteHTTPException(400, "the request was not sent to its end"))

    @app.post("/evaluate", openapi_extra=_form("file", "format", "threshold", "limit"))
    async def evaluate(request: Request) -> JSONResponse:
        """Tags of each uploaded picture, best first: `[{"filename": …, "tags": {tag: probability}}]`."""
        files, fields = await _read_form(request, limits)
        if fields.get("format", "json") != "json":
            raise HTTPException(400, f"format has to be json. Received: {fields['format'][:50]!r}")
        threshold = _number(fields, "threshold", float, DEFAULT_THRESHOLD)
        limit = _number(fields, "limit", int, DEFAULT_LIMIT)
        rows = await service.tag(files)
        answers = [tagger.choose(row, threshold, max(0, limit)) for row in rows]
        digests = [hashlib.md5(data, usedforsecurity=False).hexdigest() for _, data in files]
        return JSONResponse(
            [{"filename": name, "tags": tags} for (name, _), tags in zip(files, answers, strict=True)],
            headers={"X-Picture-MD5": ",".join(digests)},  # what the events call the pictures
        )

    @app.post("/heat", openapi_extra=_form("file", "tag"))
    async def heat(request: Request) -> JSONResponse:
        """Where in an uploaded picture a tag was seen: rows of numbers from 0 to 1 over the network's square input."""
        files, fields = await _read_form(request, limits)
        if not has_heat:
            raise HTTPException(404, "an ONNX file has no gradients: serve the run folder")
        if fields.get("tag") not in names:
            raise HTTPException(400, "tag has to be one of the model's")
        return JSONResponse({"heat": await service.heat(*files[0], fields["tag"]), "resize": tagger.run.config.resize})

    @app.post("/events", status_code=204)
    def judge(judgement: Judgement) -> None:
        """Keep what was seen, added and rejected."""
        kinds = [(tag, kind) for kind in KINDS for tag in getattr(judgement, kind)]
        if unknown := {tag for tag, _ in kinds} - names:
            raise HTTPException(400, f"no tag of this model: {min(unknown)[:50]!r}")
        events.add(judgement.picture, kinds)

    @app.get("/events")
    def judgements() -> dict[str, dict[str, int]]:
        """For each tag the number of pictures on which it was seen, added and rejected."""
        return events.by_tag()

    @app.get("/model")
    def model() -> dict:
        """The tags with their categories and thresholds, and what the server can do."""
        thresholds = zip(tagger.run.tags, tagger.thresholds.tolist(), strict=True)
        return {
            "version": version,
            "heat": has_heat,
            "upload_bytes": limits.upload_bytes,
            "tags": {tag.name: {"category": tag.category, "threshold": value} for tag, value in thresholds},
        }

    @app.get("/healthz")
    def health() -> dict:
        """That the server answers."""
        return {"status": "ok", "version": version}

    @app.get("/metrics", response_class=PlainTextResponse)
    def show_metrics() -> PlainTextResponse:
        """For Prometheus."""
        return PlainTextResponse(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": POLICY})

    @app.get("/web/{name}", include_in_schema=False)
    def page_file(name: str) -> FileResponse:
        if name not in FILES:
            raise HTTPException(404, "no such file")
        return FileResponse(PAGE / name, media_type=FILES[name])

    return app


def version_of(tagger: Tagger, file: Path) -> str:
    """A name for a network and its thresholds that changes with either."""
    digest = hashlib.sha256(file.read_bytes() + tagger.thresholds.tobytes())
    return f"{file.parent.name if file.suffix == '.keras' else file.stem}-{digest.hexdigest()[:8]}"


class LimitBody:
    """Refuses a request that is larger than allowed, without reading it to its end."""

    def __init__(self, app, most_bytes: int):
        self.app, self.most_bytes = app, most_bytes

    async def __call__(self, scope, receive, send) -> None:
        """ASGI."""
        received = 0

        async def limited():
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.most_bytes:
                raise HTTPException(413, f"expected at most {self.most_bytes // 2**20} MiB")
            return message

        await self.app(scope, limited if scope["type"] == "http" else receive, send)


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


async def _read_form(request: Request, limits: Limits) -> tuple[list[tuple[str, bytes]], dict[str, str]]:
    """The uploaded files, by name and content, and the other fields, of the form or the address.

    Raises:
        HTTPException: 400, there is no file.
    """
    fields, files = dict(request.query_params), []
    async with request.form(max_files=limits.files, max_fields=limits.files) as form:
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.append((value.filename or "", await value.read()))
            else:
                fields[key] = value
    if not files:
        raise HTTPException(400, "no file: expected multipart/form-data with at least one field named file")
    return files, fields


def _number(fields: dict[str, str], name: str, kind: type, default: float) -> float:
    try:
        value = kind(fields.get(name, default))
        if not np.isfinite(value):
            raise ValueError
        return value
    except (ValueError, OverflowError):
        raise HTTPException(400, f"{name} has to be a number. Received: {fields[name][:50]!r}") from None


def _form(*names: str) -> dict:
    """What the OpenAPI document says of a form that is read by hand."""
    kinds = {
        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "threshold": {"type": "number", "default": DEFAULT_THRESHOLD},
        "limit": {"type": "integer", "default": DEFAULT_LIMIT},
        "format": {"type": "string", "enum": ["json"]},
        "tag": {"type": "string"},
    }
    schema = {"type": "object", "required": ["file"], "properties": {name: kinds[name] for name in names}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
