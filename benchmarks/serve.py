"""serve.py with many clients at once, beside the rate of the same pictures in batches without a server (Linux).

    python -m benchmarks serve PICTURES --run runs/openmoji/export/suite/model.onnx

Server, clients and the comparison share the cores. Result: serve.json.
"""

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

from benchmarks.reporting import Table, report
from common.errors import InputError
from inference.sources import find
from inference.tagger import Tagger

ROOT = Path(__file__).parent.parent
ROUNDS = 5
BATCHES, SERVER, CLIENTS = "in batches, without a server", "serve.py", "its clients"
BOUNDARY = "e6tag"


def form(name: str, data: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the body of a request with one file, and its headers."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the pictures, the run and the number of clients."""
    parser.add_argument("pictures", type=Path, help="folder of pictures")
    parser.add_argument("--run", type=Path, required=True, help="run folder, or model.onnx")
    parser.add_argument("--clients", type=int, default=64, help="clients at once (default: 64)")


def measure(options: argparse.Namespace) -> None:
    """Measure rates, processor time a picture and the latency of requests."""
    sources, tagger = list(find([str(options.pictures)])), Tagger.open(options.run)
    paths, number = [source.path for source in sources if source.path], len(sources)
    rates, results = [], []
    processor_seconds = dict.fromkeys((BATCHES, SERVER, CLIENTS), 0.0)
    with serving_run(options.run) as port:
        load(port, paths, options.clients, 4 * options.clients)  # untimed: compilation, start of threads
        for _ in range(ROUNDS):  # in turns, so that other work on the machine slows both
            started, before = time.perf_counter(), time.process_time()
            for _ in tagger.predict(sources):
                pass
            rates.append(number / (time.perf_counter() - started))
            processor_seconds[BATCHES] += time.process_time() - before
            server_before, before = gauge(port, "process_cpu_seconds_total"), time.process_time()
            results.append(load(port, paths, options.clients, number))
            processor_seconds[SERVER] += gauge(port, "process_cpu_seconds_total") - server_before
            processor_seconds[CLIENTS] += time.process_time() - before
    served_rates = [result["status"].get(200, 0) / result["seconds"] for result in results]
    waits = statistics.quantiles((seconds for result in results for seconds in result["latency"]), n=100)
    print(f"{options.clients} clients, {number} requests, {ROUNDS} times: status {[one['status'] for one in results]}")
    figures = {
        "clients": options.clients,
        "requests": number,
        "images_per_second": {BATCHES: statistics.median(rates), SERVER: statistics.median(served_rates)},
        "ratio": statistics.median(a / b for a, b in zip(served_rates, rates, strict=True)),
        "processor_ms_per_image": {name: 1000 * value / ROUNDS / number for name, value in processor_seconds.items()},
        "latency_ms": {"median": 1000 * waits[49], "p99": 1000 * waits[98]},
    }
    report("serve", table(figures), figures)
    print(f"latency  median {figures['latency_ms']['median']:.0f} ms  p99 {figures['latency_ms']['p99']:.0f} ms")


def table(figures: dict) -> Table:
    """Return the table of a result: one row for the batches, the server and its clients."""
    rows = []
    for name, milliseconds in figures["processor_ms_per_image"].items():
        rate = figures["images_per_second"].get(name)
        title = f"{name} ({figures['ratio']:.2f} of that)" if name == SERVER else name
        rows.append([title, "" if rate is None else f"{rate:.0f}", f"{milliseconds:.2f}"])
    return Table(["", "pictures a second", "processor ms a picture"], rows)


@contextlib.contextmanager
def serving_run(run: Path):
    """Start serve.py in another process, wait until it answers, and yield its port."""
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
            yield port
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


def load(port: int, pictures: list[Path], clients: int, requests: int) -> dict:
    """Send requests with one picture each; every client waits for its answer before it sends the next request.

    Returns:
        `seconds`, the time of all requests; `status`, status ▶ count; `latency`, the seconds of each answer with status 200.
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
    """Return a figure without labels from the server's `/metrics`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return next(float(line.split()[1]) for line in answer.read().decode().splitlines() if line.startswith(f"{name} "))


def _answers(port: int) -> bool:
    try:
        http.client.HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/healthz")
    except OSError:
        return False
    return True
