"""A running serve.py under load: many clients at once, and what the server's processes use (Linux)."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from common.errors import InputError

ROOT = Path(__file__).parent.parent
BOUNDARY = "e6tag"
TIMEOUT_SECONDS = 60


def form(name: str, data: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the body of a request with one file, and its headers."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@contextlib.contextmanager
def serving_run(run: Path) -> Iterator[tuple[int, int]]:
    """Start serve.py in another process, wait until it answers, and yield its port and the id of its process."""
    with tempfile.TemporaryDirectory() as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = ["--run", str(run), "--port", str(port), "--events", f"{folder}/events.sqlite"]
        server = subprocess.Popen([sys.executable, str(ROOT / "serve.py"), *options])
        try:
            while not _answers(port):
                if server.poll() is not None:
                    raise InputError("serve.py ended, for the reason printed above")
                time.sleep(0.2)
            yield port, server.pid
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def load(port: int, pictures: list[Path], clients: int, requests: int) -> dict:
    """Send requests with one picture each; every client waits for its answer before it sends the next request.

    Returns:
        `seconds`, the time of all requests; `status`, status ▶ count; `latency`, the seconds of each answer with status 200.
    """
    requests_of_pictures = [_request(path) for path in pictures]
    latency: list[float] = []
    status: dict[int, int] = {}
    left = iter(range(requests))
    lock = threading.Lock()

    def client() -> None:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers = connection.makefile("rb")
            while True:
                with lock:
                    index = next(left, None)
                if index is None:
                    return
                started = time.perf_counter()
                connection.sendall(requests_of_pictures[index % len(pictures)])
                code = _read_answer(answers)
                with lock:
                    status[code] = status.get(code, 0) + 1
                    if code == 200:
                        latency.append(time.perf_counter() - started)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"seconds": time.perf_counter() - started, "status": status, "latency": latency}


def _request(path: Path) -> bytes:
    """Return a whole request with a picture. The modules of Python that write and read HTTP take three times as long."""
    body, headers = form(path.name, path.read_bytes())
    lines = ["POST /evaluate HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _read_answer(answers) -> int:
    """Read one answer from the file of a connection, and return its status."""
    code, length = int(answers.readline().split()[1]), 0
    while (line := answers.readline().lower()) != b"\r\n":
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    answers.read(length)
    return code


def used_by(server: int) -> tuple[float, float]:
    """Return the seconds of processor time and the resident MiB of a server and the processes that it started.

    Args:
        server: id of its process.
    """
    seconds = mebibytes = 0.0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            # From the third field on, after the name, which may hold spaces; proc(5) numbers them from 1.
            fields = path.read_text().rpartition(") ")[2].split()
            if server in (int(path.parent.name), int(fields[1])):
                seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                mebibytes += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return seconds, mebibytes
