"""How a server does when many clients call at once."""

import http.client
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
