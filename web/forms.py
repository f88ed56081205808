"""Multipart forms with uploaded pictures: reading them, and their description in the OpenAPI document."""

import math
from typing import TypeVar

from fastapi import HTTPException, Request

from web.schemas import TAG_NAME
from web.service import Limits

FORMATS = ("json", "html")
DEFAULT_THRESHOLD, DEFAULT_LIMIT = 0.1, 50  # those of Danbooru's autotagger

Number = TypeVar("Number", int, float)


async def read_form(request: Request, limits: Limits) -> tuple[list[tuple[str, bytes]], dict[str, str]]:
    """Read the uploaded files and the other fields of a request.

    The field `format` is stored in the request's state, for answers and errors.

    Returns:
        Name and content of each file, and the other fields, which may also be in the address of the request.

    Raises:
        HTTPException: 400, there is no file, or the format is none of `FORMATS`.
    """
    fields, files = dict(request.query_params), []
    async with request.form(max_files=limits.files, max_fields=limits.files) as form:
        for key, value in form.multi_items():
            if isinstance(value, str):
                fields[key] = value
            elif key == "file":
                files.append((value.filename or "", await value.read()))
    request.state.format = fields.get("format")
    if request.state.format not in (None, *FORMATS):
        raise HTTPException(400, f"format has to be json or html. Received: {fields['format'][:50]!r}")
    if not files:
        raise HTTPException(400, "no file: expected multipart/form-data with at least one field named file")
    return files, fields


def read_number(fields: dict[str, str], name: str, kind: type[Number], default: Number) -> Number:
    """Return a field as a number of the type `kind`.

    Raises:
        HTTPException: 400, it is not a finite number.
    """
    try:
        value = kind(fields.get(name, default))
        if not math.isfinite(value):
            raise ValueError
        return value
    except (ValueError, OverflowError):
        raise HTTPException(400, f"{name} has to be a number. Received: {fields[name][:50]!r}") from None


def openapi_form(limits: Limits, *names: str, required: tuple[str, ...] = ("file",)) -> dict:
    """Return the OpenAPI description of a form with these fields; FastAPI cannot derive it for `read_form`."""
    pictures = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1, "maxItems": limits.files}
    kinds = {
        "file": pictures,
        "threshold": {"type": "number", "default": DEFAULT_THRESHOLD},
        "limit": {"type": "integer", "default": DEFAULT_LIMIT},
        "format": {"type": "string", "enum": FORMATS, "description": "default: html for browsers, json for others"},
        "tag": TAG_NAME,
    }
    schema = {"type": "object", "required": required, "properties": {name: kinds[name] for name in names}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
