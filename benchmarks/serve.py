"""serve.py with many clients at once, beside the rate of the same pictures in batches without a server (Linux)."""

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
import urllib.request
from pathlib import Path

from benchmarks.measuring import table
from command import InputError
from model import inputs
from model.predict import Tagger

ROOT = Path(__file__).parent.parent
ROUNDS = 5
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
    """Print rates, processor time a picture and how long clients waited."""
    sources, tagger = list(inputs.find([str(options.pictures)])), Tagger.load(options.run)
    paths, number = [source.path for source in sources], len(sources)
    batches, serving, server_seconds, client_seconds, batch_seconds = [], [], 0.0, 0.0, 0.0
    with serving_run(options.run) as port:
        load(port, paths, options.clients, 4 * options.clients)  # compiled, and threads started
        for _ in range(ROUNDS):  # in turns, so that a busy machine is as busy for one as for the other
            started, ours = time.perf_counter(), time.process_time()
            for _ in tagger.predict(sources):
                pass
            batches.append(number / (time.perf_counter() - started))
            batch_seconds += time.process_time() - ours
            theirs, ours = gauge(port, "process_cpu_seconds_total"), time.process_time()
            serving.append(load(port, paths, options.clients, number))
            server_seconds += gauge(port, "process_cpu_seconds_total") - theirs
            client_seconds += time.process_time() - ours
    rates = [result["status"].get(200, 0) / result["seconds"] for result in serving]
    ratio = statistics.median(a / b for a, b in zip(rates, batches, strict=True))
    waits = statistics.quantiles((seconds for result in serving for seconds in result["latency"]), n=100)
    rows = []
    for name, rate, seconds in (
        ("in batches, without a server", statistics.median(batches), batch_seconds),
        (f"serve.py ({ratio:.2f} of that)", statistics.median(rates), server_seconds),
        ("its clients", None, client_seconds),
    ):
        rows.append([name, f"{rate:.0f}" if rate else "", f"{1000 * seconds / ROUNDS / number:.2f}"])
    print(f"{options.clients} clients, {number} requests, {ROUNDS} times: status {[r['status'] for r in serving]}")
    print(table(["", "pictures a second", "processor ms a picture"], rows))
    print(f"latency  median {1000 * waits[49]:.0f} ms  p99 {1000 * waits[98]:.0f} ms")


@contextlib.contextmanager
def serving_run(run: Path):
    """serve.py in another process, answering: gives its port."""
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
            yield port
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


def gauge(port: int, name: str) -> float:
    """A figure without labels of the server's `/metrics`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return next(float(line.split()[1]) for line in answer.read().decode().splitlines() if line.startswith(f"{name} "))


def _answers(port: int) -> bool:
    try:
        http.client.HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/healthz")
    except OSError:
        return False
    return True
