"""serve.py with many clients at once, beside the rate of the same pictures in batches without a server (Linux).

    python -m benchmarks serve PICTURES --run runs/openmoji
    python -m benchmarks serve PICTURES --run runs/openmoji --memory

Server, clients and the comparison share the cores. Result: serve.json; with --memory, serve-memory.json: the resident memory
after every 10,000 of 40,000 requests.
"""

import argparse
import statistics
import time
from pathlib import Path

from benchmarks.reporting import Table, report
from benchmarks.server_load import load, serving_run, used_by
from common.errors import InputError
from inference.sources import find
from inference.tagger import Tagger

ROUNDS = 5
BATCHES, SERVER, CLIENTS = "in batches, without a server", "serve.py", "its clients"
MEMORY_REQUESTS, MEMORY_SAMPLES = 10_000, 4
WARM_UP = 1000  # requests before the first sample of the memory


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the pictures, the run, the number of clients, and what to measure."""
    parser.add_argument("pictures", type=Path, help="folder of pictures")
    parser.add_argument("--run", type=Path, required=True, help="run folder, or model.onnx")
    parser.add_argument("--clients", type=int, default=64, help="clients at once (default: 64)")
    parser.add_argument("--memory", action="store_true", help="measure the memory over 40,000 requests instead of the rates")


def measure(options: argparse.Namespace) -> None:
    """Measure rates, processor time a picture and the latency of requests; or the memory."""
    sources = list(find([str(options.pictures)]))
    paths, number = [source.path for source in sources if source.path], len(sources)
    if options.memory:
        measure_memory(options, paths)
        return
    tagger = Tagger.open(options.run, onnx=True)
    rates, results = [], []
    processor_seconds = dict.fromkeys((BATCHES, SERVER, CLIENTS), 0.0)
    with serving_run(options.run) as (port, server):
        load(port, paths, options.clients, 4 * options.clients)  # untimed: compilation, start of threads
        for _ in range(ROUNDS):  # in turns, so that other work on the machine slows both
            started, before = time.perf_counter(), time.process_time()
            for _ in tagger.predict(sources):
                pass
            rates.append(number / (time.perf_counter() - started))
            processor_seconds[BATCHES] += time.process_time() - before
            server_before, before = used_by(server)[0], time.process_time()
            results.append(load(port, paths, options.clients, number))
            processor_seconds[SERVER] += used_by(server)[0] - server_before
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


def measure_memory(options: argparse.Namespace, pictures: list[Path]) -> None:
    """Measure the resident memory of the server's processes after every 10,000 requests.

    Raises:
        InputError: a request was refused, and so the memory is not that of the work.
    """
    with serving_run(options.run) as (port, server):
        load(port, pictures, options.clients, WARM_UP)
        samples = {WARM_UP: used_by(server)[1]}
        for sample in range(1, MEMORY_SAMPLES + 1):
            status = load(port, pictures, options.clients, MEMORY_REQUESTS)["status"]
            if status != {200: MEMORY_REQUESTS}:
                raise InputError(f"expected {MEMORY_REQUESTS:,} answers with status 200. Received: {status}")
            samples[WARM_UP + sample * MEMORY_REQUESTS] = used_by(server)[1]
    figures = {"clients": options.clients, "mebibytes": samples}
    report("serve-memory", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for the batches, the server and its clients; or one for each sample."""
    if "mebibytes" in figures:
        rows = [[f"{int(requests):,}", f"{mebibytes:.0f}"] for requests, mebibytes in figures["mebibytes"].items()]
        return Table(["requests", "MiB"], rows)
    rows, needed = [], figures["processor_ms_per_image"]
    # Other work on the machine changes the rates, since more processes get more of it, but hardly the processor time.
    share_by_time = needed[BATCHES] / (needed[SERVER] + needed[CLIENTS])
    for name, milliseconds in needed.items():
        rate, server_cells = figures["images_per_second"].get(name), ["", "", "", ""]
        if name == SERVER:
            latency = [f"{value:.0f}" for value in figures["latency_ms"].values()]
            server_cells = [f"{figures['ratio']:.2f}", f"{share_by_time:.2f}", *latency]
        rows.append([name, "" if rate is None else f"{rate:.0f}", f"{milliseconds:.2f}", *server_cells])
    shares = ["of the batches", "by processor time"]
    return Table(["", "pictures/s", "processor ms/picture", *shares, "median latency, ms", "p99, ms"], rows)
