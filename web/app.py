"""The web application: tags with the interface of Danbooru's autotagger, heat maps, events, metrics, and the page."""

import gc
import hashlib
import logging
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse
from prometheus_client import generate_latest
from starlette.middleware.trustedhost import TrustedHostMiddleware

from dataset.images import ImageError
from inference.tagger import Tagger
from labels.feedback import KINDS, Events
from web.errors import AnswerHead, add_error_handlers
from web.forms import DEFAULT_LIMIT, DEFAULT_THRESHOLD, openapi_form, read_form, read_number
from web.prometheus import MeasureRequests, Metrics
from web.result_page import result_page, wants_page
from web.schemas import ERRORS, HTML, Counts, Health, HeatMap, Judgement, Model, OpenApi, PictureTags
from web.service import LimitBody, Limits, Service

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it logs every malformed request

FOLDER = Path(__file__).parent
PAGE_FILES = {"page.js": "text/javascript", "heat.js": "text/javascript", "style.css": "text/css"}
MAX_JUDGEMENT_BYTES = 4 * 2**20
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
PAGE_HEADERS = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}


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

    names = [tag.name for tag in service.tags]
    facts = {"title": "e6tag", "version": version, "responses": ERRORS}
    app = OpenApi(names, lifespan=lifespan, docs_url=None, redoc_url=None, **facts)
    app.add_middleware(MeasureRequests, metrics=metrics)
    app.add_middleware(LimitBody, max_bytes=limits.upload_bytes, max_bytes_by_path={"/events": MAX_JUDGEMENT_BYTES})
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.add_middleware(AnswerHead)
    add_error_handlers(app)
    _add_page_routes(app)
    _add_prediction_routes(app, service)
    _add_event_routes(app, events, set(names))
    _add_state_routes(app, service)
    return app


def _add_prediction_routes(app: FastAPI, service: Service) -> None:
    names = {tag.name for tag in service.tags}

    @app.post(
        "/evaluate",
        openapi_extra=openapi_form(service.limits, "file", "format", "threshold", "limit"),
        responses={200: {"model": list[PictureTags], "content": HTML}},
    )
    async def evaluate(request: Request) -> Response:
        """Tags of each uploaded picture, the most probable first: `[{"filename": …, "tags": {tag: probability}}]`.

        A file that cannot be read has no tags, but an `error`. If it is the only one, the request is refused. Browsers, and
        requests with `format=html`, get a page.
        """
        files, fields = await read_form(request, service.limits)
        threshold = read_number(fields, "threshold", float, DEFAULT_THRESHOLD)
        limit = read_number(fields, "limit", int, DEFAULT_LIMIT)
        results: list[dict] = []
        for (name, _), row in zip(files, await service.tag(files), strict=True):
            if isinstance(row, ImageError):
                results.append({"filename": name, "tags": {}, "error": str(row)})
            else:
                results.append({"filename": name, "tags": service.choose(row, threshold, limit)})
        digests = [hashlib.md5(data, usedforsecurity=False).hexdigest() for _, data in files]
        headers = {"X-Picture-MD5": ",".join(digests)}  # POST /events names pictures by these
        if wants_page(request):
            return HTMLResponse(result_page(results, files), headers=headers | PAGE_HEADERS)
        return JSONResponse(results, headers=headers)

    @app.post(
        "/heat",
        openapi_extra=openapi_form(service.limits, "file", "tag", required=("file", "tag")),
        responses={200: {"model": HeatMap}},
    )
    async def heat(request: Request) -> JSONResponse:
        """Heat map of a tag in an uploaded picture."""
        files, fields = await read_form(request, service.limits)
        if not service.tagger.network.has_feature_map:
            raise HTTPException(404, "this network has no feature map, or its file does not give one: serve the run folder")
        if fields.get("tag") not in names:
            raise HTTPException(400, "tag has to be one of the model's")
        resize = service.tagger.run.config.resize
        return JSONResponse({"heat": await service.heat(*files[0], fields["tag"]), "resize": resize})


def _add_event_routes(app: FastAPI, events: Events, names: set[str]) -> None:
    @app.post("/events", status_code=204)
    def judge(judgement: Judgement) -> None:
        """Store which tags were seen, added and rejected, and delete the verdicts that were withdrawn."""
        kinds = [(tag, kind) for kind in KINDS for tag in getattr(judgement, kind)]
        if unknown := {*judgement.withdrawn, *(tag for tag, _ in kinds)} - names:
            raise HTTPException(400, f"not a tag of this model: {min(unknown)[:50]!r}")
        events.add(judgement.picture, kinds, judgement.withdrawn)

    @app.get("/events", response_model=dict[str, Counts])
    def judgements() -> dict[str, dict[str, int]]:
        """For each tag the number of pictures on which it was seen, added and rejected."""
        return events.by_tag()


def _add_state_routes(app: FastAPI, service: Service) -> None:
    @app.get("/model", response_model=Model)
    def model() -> dict:
        """The tags with their categories, thresholds and implications, and what the server can do."""
        return {
            "version": app.version,
            "heat": service.tagger.network.has_feature_map,
            "search": any(getattr(route, "path", "") == "/search" for route in app.routes),
            "upload_bytes": service.limits.upload_bytes,
            "tags": {
                tag.name: {"category": tag.category, "threshold": service.threshold(tag), "implies": service.implied(tag)}
                for tag in service.tags
            },
        }

    @app.get("/healthz", response_model=Health)
    def health() -> dict:
        """Whether the server answers, and with which model."""
        return {"status": "ok", "version": app.version}

    @app.get("/metrics", response_class=PlainTextResponse)
    def show_metrics() -> PlainTextResponse:
        """Metrics in the text format of Prometheus."""
        return PlainTextResponse(generate_latest(service.metrics.registry), media_type="text/plain; version=0.0.4")


def _add_page_routes(app: FastAPI) -> None:
    """Serve the page and its files. They are not part of the HTTP interface, so the OpenAPI document leaves them out."""

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(FOLDER / "index.html", headers=PAGE_HEADERS)

    @app.get("/web/{name}", include_in_schema=False)
    def page_file(name: str) -> FileResponse:
        if name not in PAGE_FILES:
            raise HTTPException(404, "no such file")
        return FileResponse(FOLDER / name, media_type=PAGE_FILES[name])


def version_of(tagger: Tagger, sources: Sequence[Path]) -> str:
    """Return a name for a network and its thresholds that changes with either.

    Args:
        tagger: the network and its thresholds.
        sources: the file of the network, and then the files of its added tags.
    """
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources) + tagger.thresholds.tobytes())
    name = sources[0].stem if sources[0].suffix == ".onnx" else sources[0].parent.name
    return f"{name}-{digest.hexdigest()[:8]}"
