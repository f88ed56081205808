"""Errors in the form of Danbooru's autotagger, and the methods that an address has: HEAD, and the header Allow."""

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from web.result_page import error_page, wants_page

NAMES = {  # of the autotagger
    400: "BadRequest",
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "RequestEntityTooLarge",
    503: "ServiceUnavailable",
}


def add_error_handlers(app: FastAPI) -> None:
    """Give all errors the form of the autotagger's: JSON, or a page for browsers."""

    @app.exception_handler(StarletteHTTPException)
    async def refuse(request: Request, error: StarletteHTTPException) -> Response:
        name, headers = NAMES.get(error.status_code, "HTTPException"), dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(allowed_methods(app, request))
        if wants_page(request):
            return HTMLResponse(error_page(name, str(error.detail)), error.status_code, headers)
        return JSONResponse({"error": name, "message": str(error.detail)}, error.status_code, headers)

    @app.exception_handler(RequestValidationError)
    async def explain(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return await refuse(request, HTTPException(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}"))

    @app.exception_handler(ClientDisconnect)
    async def disconnected(request: Request, _: ClientDisconnect) -> Response:
        return await refuse(request, StarletteHTTPException(400, "the request ended before all of it was sent"))


def allowed_methods(app: FastAPI, request: Request) -> list[str]:
    """Return the methods of an address. An address with two methods has two routes, of which the router names one."""
    routes = [route for route in app.routes if route.matches(request.scope)[0] != Match.NONE]
    methods = {method for route in routes for method in getattr(route, "methods", None) or ()}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


class AnswerHead:
    """ASGI middleware that answers HEAD like GET. The server, which sees the original request, sends the headers alone."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        """Handle a request."""
        await self.app(scope | {"method": "GET"} if scope.get("method") == "HEAD" else scope, receive, send)
