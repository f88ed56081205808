"""10,000 requests to serve.py that are wrong in one way or another: the status of the answers, and the memory (Linux).

    python -m benchmarks fuzz PICTURES --run runs/openmoji/export/suite/model.onnx

It prints its counts and stores nothing.
"""

import argparse
import random
import socket
from collections import Counter
from pathlib import Path

from benchmarks.server_load import BOUNDARY, form, serving_run, used_by
from common.errors import say
from inference import sources


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the pictures, the run and the number of requests."""
    parser.add_argument("pictures", type=Path, help="folder of pictures")
    parser.add_argument("--run", type=Path, required=True, help="run folder, or model.onnx")
    parser.add_argument("--requests", type=int, default=10_000, help="number of requests (default: 10,000)")


def measure(options: argparse.Namespace) -> None:
    """Print the statuses of the answers, and the memory of the server's processes five times."""
    paths = [source.path for source in sources.find([str(options.pictures)]) if source.path][:50]
    with serving_run(options.run) as (port, server):
        status: Counter[int] = Counter()
        for index, code in enumerate(fuzz(port, paths, options.requests), 1):
            status[code] += 1
            if index % (options.requests // 5) == 0:
                say(f"{index:>7,} requests, {used_by(server)[1]:.0f} MiB")
    print(f"{options.requests:,} wrong requests: {dict(sorted(status.items()))} (0: the connection was closed)")


def fuzz(port: int, pictures: list[Path], number: int, seed: int = 0):
    """Send wrong requests, one at a time.

    Yields:
        The status of each answer; 0 where the server closed the connection, as it may if the request is not HTTP.
    """
    chance = random.Random(seed)
    images = [path.read_bytes() for path in pictures]
    for _ in range(number):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            try:
                request, is_complete = _wrong_request(chance, images)
                connection.sendall(request)
                if not is_complete:  # the server would wait for the rest
                    connection.shutdown(socket.SHUT_WR)
                answer = connection.makefile("rb").readline()
            except OSError:  # the server closed the connection
                answer = b""
        yield int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def _wrong_request(chance: random.Random, images: list[bytes]) -> tuple[bytes, bool]:
    """Return a request, and whether it is as long as its header says."""
    data = bytearray(chance.choice(images))
    for _ in range(chance.choice((0, 1, 30))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    broken = bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
    body, headers = form(chance.choice(("a.png", "", "\u2028.gif", "x" * 5000)), broken)
    path = chance.choice(
        ("/evaluate", "/evaluate?threshold=x", "/evaluate?limit=-1", "/evaluate?format=html", "/heat?tag=x")
    )
    match chance.randrange(8):
        case 0:  # a header that is too large
            headers["X-Large"] = "x" * chance.choice((10_000, 70_000, 300_000))
        case 1:  # a type that is not that of the body
            headers["Content-Type"] = chance.choice(("application/json", "text/plain", "multipart/form-data", "\xff/;;"))
        case 2:  # a body cut off, or scrambled
            body = body[: chance.randrange(len(body))] + chance.randbytes(chance.randrange(50))
        case 3:  # JSON of wrong types
            path, headers = "/events", {"Content-Type": "application/json"}
            options = (b"[]", b"null", b'{"picture": 1}', b'{"picture": "' + b"0" * 32 + b'", "seen": [1, null]}', broken)
            body = chance.choice(options)
        case 4:  # many fields
            part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'.encode()
            body = part * chance.choice((5, 2000)) + body
        case 5:  # an address that does not exist
            path = chance.choice(("/web/../serve.py", "/web/%2e%2e/serve.py", "/%00", "/" + "a" * 9000, "/events/1"))
        case 6:  # not HTTP
            return chance.randbytes(chance.randrange(1, 3000)) + b"\r\n\r\n", False
    method = chance.choice(("POST",) * 17 + ("GET", "PUT", "BREW"))
    length = chance.choice((len(body),) * 16 + (0, len(body) + 9, -1, 10**12))
    host = chance.choice(("127.0.0.1",) * 18 + ("elsewhere.example", ""))
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()] + [f"Content-Length: {length}", "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + body, length <= len(body)
