"""How a server does when many clients call at once, or call with nonsense."""

import http.client
import random
import socket
import threading
import time
from pathlib import Path

import numpy as np

BOUNDARY = "e6tag"


def form(name: str, data: bytes) -> tuple[bytes, dict[str, str]]:
    """A request's body with one file, and its headers."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def answers(host: str, port: int) -> bool:
    """Whether a server is there."""
    try:
        http.client.HTTPConnection(host, port, timeout=5).request("GET", "/healthz")
    except OSError:
        return False
    return True


def load(host: str, port: int, pictures: list[Path], clients: int, requests: int) -> dict:
    """Send requests of one picture each from clients that each wait for an answer before they ask again.

    Returns:
        `seconds` in all, `status` ▶ count, and `latency`, the sorted seconds of the answers with status 200.
    """
    bodies = [form(path.name, path.read_bytes()) for path in pictures]
    latency: list[float] = []
    status: dict[int, int] = {}
    left = iter(range(requests))
    lock = threading.Lock()

    def client() -> None:
        connection = http.client.HTTPConnection(host, port, timeout=60)
        while True:
            with lock:
                index = next(left, None)
            if index is None:
                return
            body, headers = bodies[index % len(bodies)]
            started = time.perf_counter()
            connection.request("POST", "/evaluate", body, headers)
            answer = connection.getresponse()
            answer.read()
            with lock:
                status[answer.status] = status.get(answer.status, 0) + 1
                if answer.status == 200:
                    latency.append(time.perf_counter() - started)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"seconds": time.perf_counter() - started, "status": status, "latency": np.sort(latency)}


def fuzz(host: str, port: int, pictures: list[Path], number: int, seed: int = 0):
    """Send requests that are wrong in one way or another, one at a time.

    Yields:
        The status of each answer; 0 where the server closed the connection, as it may on what is no HTTP.
    """
    chance = random.Random(seed)
    whole = [path.read_bytes() for path in pictures]
    for _ in range(number):
        with socket.create_connection((host, port), timeout=60) as connection:
            try:
                request, is_whole = _nonsense(chance, whole)
                connection.sendall(request)
                if not is_whole:  # the server would wait for the rest
                    connection.shutdown(socket.SHUT_WR)
                answer = connection.makefile("rb").readline()
            except OSError:  # closed by the other side
                answer = b""
        yield int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def _nonsense(chance: random.Random, whole: list[bytes]) -> tuple[bytes, bool]:
    """A request as bytes, and whether it is as long as it says."""
    data = bytearray(chance.choice(whole))
    for _ in range(chance.choice((0, 1, 30))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    broken = bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
    body, headers = form(chance.choice(("a.png", "", "\u2028.gif", "x" * 5000)), broken)
    path = chance.choice(
        ("/evaluate", "/evaluate?threshold=x", "/evaluate?limit=-1", "/evaluate?format=html", "/heat?tag=x")
    )
    match chance.randrange(8):
        case 0:  # a header too large
            headers["X-Large"] = "x" * chance.choice((10_000, 70_000, 300_000))
        case 1:  # another type than the body's
            headers["Content-Type"] = chance.choice(("application/json", "text/plain", "multipart/form-data", "\xff/;;"))
        case 2:  # a body cut off, or scrambled
            body = body[: chance.randrange(len(body))] + chance.randbytes(chance.randrange(50))
        case 3:  # JSON of other types
            path, headers = "/events", {"Content-Type": "application/json"}
            options = (b"[]", b"null", b'{"picture": 1}', b'{"picture": "' + b"0" * 32 + b'", "seen": [1, null]}', broken)
            body = chance.choice(options)
        case 4:  # many fields
            part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'.encode()
            body = part * chance.choice((5, 2000)) + body
        case 5:  # a place that is not there
            path = chance.choice(("/web/../serve.py", "/web/%2e%2e/serve.py", "/%00", "/" + "a" * 9000, "/events/1"))
        case 6:  # no HTTP
            return chance.randbytes(chance.randrange(1, 3000)) + b"\r\n\r\n", False
    method = chance.choice(("POST",) * 17 + ("GET", "PUT", "BREW"))
    length = chance.choice((len(body),) * 16 + (0, len(body) + 9, -1, 10**12))
    host = chance.choice(("127.0.0.1",) * 18 + ("elsewhere.example", ""))
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()] + [f"Content-Length: {length}", "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + body, length <= len(body)
