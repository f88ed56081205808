"""The web application: tags with the interface of Danbooru's autotagger, heat maps, events, metrics, and the page."""

import gc
import hashlib
import logging
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

from dataset.images import ImageError
from inference.tagger import Tagger
from labels.feedback import KINDS, Events
from web.forms import DEFAULT_LIMIT, DEFAULT_THRESHOLD, openapi_form, read_form, read_number
from web.prometheus import MeasureRequests, Metrics
from web.service import LimitBody, Limits, Service

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it logs every malformed request

FOLDER = Path(__file__).parent
PAGE_FILES = {"page.js": "text/javascript", "heat.js": "text/javascript", "style.css": "text/css"}
MAX_JUDGEMENT_BYTES = 4 * 2**20
ERRORS = {  # names of the autotagger
    400: "BadRequest",
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "RequestEntityTooLarge",
    503: "ServiceUnavailable",
}
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


class Judgement(BaseModel):
    """What a user saw and marked of a picture's tags."""

    picture: str = Field(pattern="^[0-9a-f]{32}$", description="MD5 of the file")
    seen: list[str] = Field([], max_length=10_000)
    added: list[str] = Field([], max_length=10_000)
    rejected: list[str] = Field([], max_length=10_000)
    withdrawn: list[str] = Field([], max_length=10_000, description="no longer added or rejected")


def build(tagger: Tagger, version: str, events_path: Path, hosts: list[str], limits: Limits | None = None) -> FastAPI:
    """Return the web application.

    Args:
        tagger: run to serve.
        version: name of the run's network and thresholds, for metrics and events; see `version_of`.
        events_path: SQLite file of the events.
        hosts: names under which the server may be addressed. Other names are refused, so that a web page elsewhere cannot
            reach the server through a domain of its own (DNS rebinding).
        limits: limits of a request.
    """
    limits = limits or Limits()
    metrics = Metrics(version)
    events = Events(events_path, version)
    service = Service(tagger, limits, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI):
        gc.freeze()  # leaves out what is loaded, so that cyclic garbage of requests is collected sooner
        yield
        service.close()
        events.close()

    errors: dict[int | str, dict] = {"default": {"description": 'The error: `{"error": …, "message": …}`'}}
    app = FastAPI(title="e6tag", version=version, lifespan=lifespan, docs_url=None, redoc_url=None, responses=errors)
    app.add_middleware(MeasureRequests, metrics=metrics)
    app.add_middleware(LimitBody, max_bytes=limits.upload_bytes, max_bytes_by_path={"/events": MAX_JUDGEMENT_BYTES})
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    _add_error_handlers(app)
    _add_page_routes(app)
    _add_prediction_routes(app, tagger, service)
    _add_event_routes(app, events, {tag.name for tag in service.tags})
    _add_state_routes(app, service)
    return app


def _can_draw_heat_maps(tagger: Tagger) -> bool:
    if not tagger.has_feature_map:  # perhaps an ONNX file, without Keras
        return False
    import keras

    return keras.backend.backend() == "tensorflow"


def _add_prediction_routes(app: FastAPI, tagger: Tagger, service: Service) -> None:
    names = {tag.name for tag in service.tags}
    has_heat = _can_draw_heat_maps(tagger)

    @app.post("/evaluate", openapi_extra=openapi_form("file", "format", "threshold", "limit"))
    async def evaluate(request: Request) -> JSONResponse:
        """Tags of each uploaded picture, the most probable first: `[{"filename": …, "tags": {tag: probability}}]`.

        A file that cannot be read has no tags, but an `error`. If it is the only one, the request is refused.
        """
        files, fields = await read_form(request, service.limits)
        if fields.get("format", "json") != "json":
            raise HTTPException(400, f"format has to be json. Received: {fields['format'][:50]!r}")
        threshold = read_number(fields, "threshold", float, DEFAULT_THRESHOLD)
        limit = read_number(fields, "limit", int, DEFAULT_LIMIT)
        results: list[dict] = []
        for (name, _), row in zip(files, await service.tag(files), strict=True):
            if isinstance(row, ImageError):
                results.append({"filename": name, "tags": {}, "error": str(row)})
            else:
                results.append({"filename": name, "tags": service.choose(row, threshold, limit)})
        digests = [hashlib.md5(data, usedforsecurity=False).hexdigest() for _, data in files]
        return JSONResponse(
            results,
            headers={"X-Picture-MD5": ",".join(digests)},  # POST /events names pictures by these
        )

    @app.post("/heat", openapi_extra=openapi_form("file", "tag"))
    async def heat(request: Request) -> JSONResponse:
        """Heat map of a tag in an uploaded picture: rows of numbers from 0 to 1 over the network's square input."""
        files, fields = await read_form(request, service.limits)
        if not has_heat:
            raise HTTPException(404, "heat maps need gradients: serve the run folder, with the TensorFlow backend")
        if fields.get("tag") not in names:
            raise HTTPException(400, "tag has to be one of the model's")
        return JSONResponse({"heat": await service.heat(*files[0], fields["tag"]), "resize": tagger.run.config.resize})


def _add_event_routes(app: FastAPI, events: Events, names: set[str]) -> None:
    @app.post("/events", status_code=204)
    def judge(judgement: Judgement) -> None:
        """Store which tags were seen, added and rejected, and delete the verdicts that were withdrawn."""
        kinds = [(tag, kind) for kind in KINDS for tag in getattr(judgement, kind)]
        if unknown := {*judgement.withdrawn, *(tag for tag, _ in kinds)} - names:
            raise HTTPException(400, f"not a tag of this model: {min(unknown)[:50]!r}")
        events.add(judgement.picture, kinds, judgement.withdrawn)

    @app.get("/events")
    def judgements() -> dict[str, dict[str, int]]:
        """For each tag the number of pictures on which it was seen, added and rejected."""
        return events.by_tag()


def _add_state_routes(app: FastAPI, service: Service) -> None:
    has_heat = _can_draw_heat_maps(service.tagger)

    @app.get("/model")
    def model() -> dict:
        """The tags with their categories, thresholds and implications, and what the server can do."""
        thresholds = dict(zip(service.tagger.run.tags, service.tagger.thresholds.tolist(), strict=True))
        return {
            "version": app.version,
            "heat": has_heat,
            "search": any(getattr(route, "path", "") == "/search" for route in app.routes),
            "upload_bytes": service.limits.upload_bytes,
            "tags": {
                tag.name: {"category": tag.category, "threshold": thresholds[tag], "implies": tag.implies}
                for tag in service.tags
            },
        }

    @app.get("/healthz")
    def health() -> dict:
        """Whether the server answers, and with which model."""
        return {"status": "ok", "version": app.version}

    @app.get("/metrics", response_class=PlainTextResponse)
    def show_metrics() -> PlainTextResponse:
        """Metrics in the text format of Prometheus."""
        return PlainTextResponse(generate_latest(service.metrics.registry), media_type="text/plain; version=0.0.4")


def _add_error_handlers(app: FastAPI) -> None:
    """Give all errors the form of the autotagger's."""

    @app.exception_handler(StarletteHTTPException)
    async def refuse(_: Request, error: StarletteHTTPException) -> JSONResponse:
        content = {"error": ERRORS.get(error.status_code, "HTTPException"), "message": str(error.detail)}
        return JSONResponse(content, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def explain(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return await refuse(request, HTTPException(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}"))

    @app.exception_handler(ClientDisconnect)
    async def disconnected(request: Request, _: ClientDisconnect) -> JSONResponse:
        return await refuse(request, StarletteHTTPException(400, "the request ended before all of it was sent"))


def _add_page_routes(app: FastAPI) -> None:
    """Serve the page and its files. They are not part of the HTTP interface, so the OpenAPI document leaves them out."""

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(FOLDER / "index.html", headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})

    @app.get("/web/{name}", include_in_schema=False)
    def page_file(name: str) -> FileResponse:
        if name not in PAGE_FILES:
            raise HTTPException(404, "no such file")
        return FileResponse(FOLDER / name, media_type=PAGE_FILES[name])


def version_of(tagger: Tagger, file: Path) -> str:
    """Return a name for a network and its thresholds that changes with either."""
    digest = hashlib.sha256(file.read_bytes() + tagger.thresholds.tobytes())
    return f"{file.parent.name if tagger.has_gradients else file.stem}-{digest.hexdigest()[:8]}"
