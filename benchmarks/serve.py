"""serve.py with many clients at once, beside the rate of the same pictures in batches without a server."""

import argparse
import contextlib
import http.client
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from command import InputError
from model import inputs
from model.predict import Tagger

ROOT = Path(__file__).parent.parent
ROUNDS = 3
BOUNDARY = "e6tag"


def form(name: str, data: bytes) -> tuple[bytes, dict[str, str]]:
    """A request's body with one file, and its headers."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The run, the pictures and the clients."""
    parser.add_argument("pictures", type=Path, help="folder of pictures")
    parser.add_argument("--run", type=Path, required=True, help="run folder, or model.onnx")
    parser.add_argument("--clients", type=int, default=64, help="default: 64")


def measure(options: argparse.Namespace) -> None:
    """Print rates, their ratio, and how long clients waited."""
    sources, tagger = list(inputs.find([str(options.pictures)])), Tagger.load(options.run)
    paths = [source.path for source in sources]
    batches, serving = [], []
    with serving_run(options.run) as (_, port):
        load(port, paths, options.clients, 4 * options.clients)  # compiled, and threads started
        for _ in range(ROUNDS):  # in turns, so that a busy machine is as busy for one as for the other
            batches.append(_rate(len(sources), lambda: list(tagger.predict(sources))))
            serving.append(load(port, paths, options.clients, len(paths)))
    rates = [result["status"].get(200, 0) / result["seconds"] for result in serving]
    ratio = statistics.median(a / b for a, b in zip(rates, batches, strict=True))
    waits = statistics.quantiles((seconds for result in serving for seconds in result["latency"]), n=100)
    print(f"{options.clients} clients, {len(sources)} requests, {ROUNDS} times: status {[r['status'] for r in serving]}")
    print(f"in batches, without a server  {statistics.median(batches):>8.0f} pictures a second")
    print(f"serve.py                      {statistics.median(rates):>8.0f} pictures a second, {ratio:.2f} of that")
    print(f"latency  median {1000 * waits[49]:.0f} ms  p99 {1000 * waits[98]:.0f} ms")


@contextlib.contextmanager
def serving_run(run: Path):
    """serve.py in another process, answering: gives the process and its port."""
    with tempfile.TemporaryDirectory() as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = ["--run", str(run), "--port", str(port), "--events", f"{folder}/events.sqlite"]
        server = subprocess.Popen([sys.executable, str(ROOT / "serve.py"), *options])
        try:
            while not _answers(port):
                if server.poll() is not None:
                    raise InputError("serve.py has ended, for the reason above")
                time.sleep(0.2)
            yield server, port
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


def load(port: int, pictures: list[Path], clients: int, requests: int) -> dict:
    """Send requests of one picture each from clients that each wait for an answer before they ask again.

    Returns:
        `seconds` in all, `status` ▶ count, and `latency`, the seconds of each answer with status 200.
    """
    bodies = [form(path.name, path.read_bytes()) for path in pictures]
    latency: list[float] = []
    status: dict[int, int] = {}
    left = iter(range(requests))
    lock = threading.Lock()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
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
    return {"seconds": time.perf_counter() - started, "status": status, "latency": latency}


def _answers(port: int) -> bool:
    try:
        http.client.HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/healthz")
    except OSError:
        return False
    return True


def _rate(pictures: int, work: Callable) -> float:
    started = time.perf_counter()
    work()
    return pictures / (time.perf_counter() - started)
