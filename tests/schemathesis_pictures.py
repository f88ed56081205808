"""Hook of schemathesis: where the OpenAPI document asks for a file, it sends pictures, not any bytes.

SCHEMATHESIS_HOOKS=schemathesis_pictures PYTHONPATH=tests schemathesis run http://127.0.0.1:5000/openapi.json --checks all
"""

import io

import schemathesis
from hypothesis import strategies
from PIL import Image


def encode(width: int, height: int, shade: int) -> bytes:
    """A gray PNG."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


sides = strategies.integers(1, 64)
schemathesis.openapi.format("binary", strategies.builds(encode, sides, sides, strategies.integers(0, 255)))
