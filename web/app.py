"""The server's answers: tags in the shape of Danbooru's autotagger, heat maps, events, metrics, and the page."""

import gc
import hashlib
import logging
import math
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from prometheus_client import generate_latest
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from model.predict import Tagger
from web.events import KINDS, Events
from web.metrics import Measure, Metrics
from web.service import LimitBody, Limits, Service

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells of every malformed request

PAGE = Path(__file__).parent
FILES = {"page.js": "text/javascript", "style.css": "text/css"}
JUDGEMENT_BYTES = 4 * 2**20
DEFAULT_THRESHOLD, DEFAULT_LIMIT = 0.1, 50  # the autotagger's
ERRORS = {  # the autotagger's names
    400: "BadRequest",
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "RequestEntityTooLarge",
    503: "ServiceUnavailable",
}
POLICY = "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"


class Judgement(BaseModel):
    """What became of a picture's tags."""

    picture: str = Field(pattern="^[0-9a-f]{32}$", description="MD5 of the file")
    seen: list[str] = Field([], max_length=10_000)
    added: list[str] = Field([], max_length=10_000)
    rejected: list[str] = Field([], max_length=10_000)
    withdrawn: list[str] = Field([], max_length=10_000, description="no longer added or rejected")


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
    events = Events(events_path, version)
    service = Service(tagger, limits, metrics)
    names = {tag.name for tag in tagger.run.tags}
    has_heat = False
    if hasattr(tagger.network, "get_layer"):  # an ONNX file has no gradients and needs no Keras
        import keras

        has_heat = keras.backend.backend() == "tensorflow"

    @asynccontextmanager
    async def lifespan(_: FastAPI):
        gc.freeze()  # what is loaded stays; without it, what requests leave behind is collected sooner
        yield
        service.close()
        events.close()

    errors = {"default": {"description": 'What is wrong: `{"error": …, "message": …}`'}}
    app = FastAPI(title="e6tag", version=version, lifespan=lifespan, docs_url=None, redoc_url=None, responses=errors)
    app.add_middleware(Measure, metrics=metrics)
    app.add_middleware(LimitBody, most_bytes=limits.upload_bytes, by_path={"/events": JUDGEMENT_BYTES})
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    _name_errors(app)
    _serve_page(app)

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
            raise HTTPException(404, "heat maps need gradients: serve the run folder, with the TensorFlow backend")
        if fields.get("tag") not in names:
            raise HTTPException(400, "tag has to be one of the model's")
        return JSONResponse({"heat": await service.heat(*files[0], fields["tag"]), "resize": tagger.run.config.resize})

    _keep_judgements(app, events, names)
    _show_state(app, tagger, metrics, limits, has_heat)
    return app


def _keep_judgements(app: FastAPI, events: Events, names: set[str]) -> None:
    """The routes of what people say of pictures' tags."""

    @app.post("/events", status_code=204)
    def judge(judgement: Judgement) -> None:
        """Keep what was seen, added and rejected, and forget what was withdrawn."""
        kinds = [(tag, kind) for kind in KINDS for tag in getattr(judgement, kind)]
        if unknown := {*judgement.withdrawn, *(tag for tag, _ in kinds)} - names:
            raise HTTPException(400, f"no tag of this model: {min(unknown)[:50]!r}")
        events.add(judgement.picture, kinds, judgement.withdrawn)

    @app.get("/events")
    def judgements() -> dict[str, dict[str, int]]:
        """For each tag the number of pictures on which it was seen, added and rejected."""
        return events.by_tag()


def _show_state(app: FastAPI, tagger: Tagger, metrics: Metrics, limits: Limits, has_heat: bool) -> None:
    """The routes for pages, front ends and those who watch the server."""

    @app.get("/model")
    def model() -> dict:
        """The tags with their categories and thresholds, and what the server can do."""
        facts = zip(tagger.run.tags, tagger.thresholds.tolist(), strict=True)
        return {
            "version": app.version,
            "heat": has_heat,
            "search": any(getattr(route, "path", "") == "/search" for route in app.routes),
            "upload_bytes": limits.upload_bytes,
            "tags": {
                tag.name: {"category": tag.category, "threshold": value, "implies": tag.implies} for tag, value in facts
            },
        }

    @app.get("/healthz")
    def health() -> dict:
        """That the server answers."""
        return {"status": "ok", "version": app.version}

    @app.get("/metrics", response_class=PlainTextResponse)
    def show_metrics() -> PlainTextResponse:
        """For Prometheus."""
        return PlainTextResponse(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")


def _name_errors(app: FastAPI) -> None:
    """Answer what is wrong with a request in the autotagger's shape."""

    @app.exception_handler(StarletteHTTPException)
    async def refuse(_: Request, error: StarletteHTTPException) -> JSONResponse:
        content = {"error": ERRORS.get(error.status_code, "HTTPException"), "message": str(error.detail)}
        return JSONResponse(content, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def explain(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return await refuse(request, HTTPException(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}"))

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, _: ClientDisconnect) -> JSONResponse:
        return await refuse(request, StarletteHTTPException(400, "the request was not sent to its end"))


def _serve_page(app: FastAPI) -> None:
    """The page and its files, which are for people and so not in the OpenAPI document."""

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": POLICY})

    @app.get("/web/{name}", include_in_schema=False)
    def page_file(name: str) -> FileResponse:
        if name not in FILES:
            raise HTTPException(404, "no such file")
        return FileResponse(PAGE / name, media_type=FILES[name])


def version_of(tagger: Tagger, file: Path) -> str:
    """A name for a network and its thresholds that changes with either."""
    digest = hashlib.sha256(file.read_bytes() + tagger.thresholds.tobytes())
    return f"{file.parent.name if file.suffix == '.keras' else file.stem}-{digest.hexdigest()[:8]}"


async def _read_form(request: Request, limits: Limits) -> tuple[list[tuple[str, bytes]], dict[str, str]]:
    """The uploaded files, by name and content, and the other fields, of the form or the address.

    Raises:
        HTTPException: 400, there is no file.
    """
    fields, files = dict(request.query_params), []
    async with request.form(max_files=limits.files, max_fields=limits.files) as form:
        for key, value in form.multi_items():
            if isinstance(value, str):
                fields[key] = value
            elif key == "file":
                files.append((value.filename or "", await value.read()))
    if not files:
        raise HTTPException(400, "no file: expected multipart/form-data with at least one field named file")
    return files, fields


def _number(fields: dict[str, str], name: str, kind: type, default: float) -> float:
    try:
        value = kind(fields.get(name, default))
        if not math.isfinite(value):
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
