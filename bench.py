"""Measured, side by side.

    python bench.py recipes --data data/openmoji --epochs 6

trains the default recipe and a plain ResNet of the same size on the same data, and prints what each is worth on the test
split.

    python bench.py pointing --run runs/openmoji

compares ways of drawing heat maps: which of four held-out pictures, put together, has the tag?

    python bench.py predict --run runs/openmoji --data PICTURES
    python bench.py serve --run runs/openmoji --data PICTURES

    python bench.py fuzz --run runs/openmoji --data PICTURES

tag a folder of pictures: the network alone, with reading, by test.py, by serve.py with 64 clients at once; and send serve.py
10,000 requests that are wrong.
"""

import contextlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from command import InputError, Parser, import_quietly, run, say

SHOWN = {
    "average_precision_macro": "mAP",
    "auc_roc_macro": "macro AUC",
    "average_precision_micro": "micro AP",
    "auc_roc_micro": "micro AUC",
}


def main() -> None:
    """Run the subject asked for."""
    parser = Parser("Measure, side by side.")
    parser.add_argument("subject", choices=("recipes", "pointing", "predict", "serve", "fuzz"), help="what to measure")
    parser.add_argument("--data", type=Path, help="folder made by download.py; predict, serve, fuzz: folder of pictures")
    parser.add_argument("--run", type=Path, help="all but recipes: run folder, or model.onnx")
    parser.add_argument("--epochs", type=int, default=6, help="default: 6")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with seeds 0, 1, … (default: 1)")
    parser.add_argument("--recipes", nargs="+", default=["default", "plain"], help="default: default plain")
    given = parser.parse_args()
    if given.subject != "recipes":
        if not given.run or not (given.data or given.subject == "pointing"):
            raise InputError(f"{given.subject} needs --run{'' if given.subject == 'pointing' else ' and --data'}")
        {"pointing": compare_heat_maps, "predict": time_prediction, "serve": load_server, "fuzz": fuzz_server}[
            given.subject
        ](given)
        return
    if not given.data:
        raise InputError("recipes are compared on data: give --data")
    compare_recipes(given.data, given.recipes, given.epochs, given.seeds)


def compare_recipes(data: Path, recipes: list[str], epochs: int, seeds: int) -> None:
    """Train and evaluate each recipe with each seed, as a user would, and print mean and spread."""
    from dataset.records import read_json
    from model.runs import read_history

    figures = {recipe: [] for recipe in recipes}
    for seed in range(seeds):
        for recipe in recipes:
            folder = Path("runs") / "bench" / f"{data.resolve().name}-{recipe}-{epochs}-{seed}"
            options = ["--data", str(data), "--run", str(folder), "--recipe", recipe]
            _program("train.py", *options, "--epochs", str(epochs), "--seed", str(seed))
            _program("eval.py", str(folder), "--data", str(data))
            trained = sum(float(row["seconds"]) for row in read_history(folder))
            figures[recipe].append(read_json(folder / "metrics.json") | {"seconds": trained})
    baseline = figures[recipes[0]][0]["tag_frequencies"]
    print(f"test split of {data}, {epochs} epochs, seeds: {seeds}")
    print("".join([f"{'':<16}", *(f"{title:>16}" for title in SHOWN.values()), f"{'seconds':>10}"]))
    for recipe, runs in figures.items():
        seconds = sum(values["seconds"] for values in runs) / len(runs)
        print("".join([f"{recipe:<16}", *(_mean_and_range([r[key] for r in runs]) for key in SHOWN), f"{seconds:>10.0f}"]))
    print("".join([f"{'tag frequencies':<16}", *(_mean_and_range([baseline[key]]) for key in SHOWN)]))


def compare_heat_maps(given) -> None:
    """Print how often each way of drawing heat maps points at the right picture of four."""
    import_quietly("keras")
    from model import export, pointing
    from model.predict import Tagger

    tagger = Tagger.load(given.run)
    pixels, labels = export.check_pictures(tagger, given.data or Path(tagger.run.data), 4096)
    shares = pointing.compare(tagger.network, pixels, labels, tagger.thresholds, 500)
    composites, seen = shares.pop("count")
    print(f"four pictures put together, {composites} times; in {seen} of them the network gives the tag. Chance: 0.25")
    for name, (everywhere, where_given) in shares.items():
        print(f"{name:<24}{everywhere:>8.3f}{where_given:>8.3f} where given")


def time_prediction(given) -> None:
    """Print the rate at which a folder is tagged: by the network alone, with reading, and by test.py as a whole."""
    import numpy as np

    if given.run.suffix != ".onnx":
        import_quietly("keras")
    from model import inputs
    from model.predict import BATCH, Tagger

    tagger, sources = Tagger.load(given.run), list(inputs.find([str(given.data)]))
    batch = np.zeros((BATCH, tagger.run.config.image_size, tagger.run.config.image_size, 3), np.uint8)
    tagger.scores(batch, compiled=True)
    rates = {
        "network alone": _rate(len(sources), lambda: [tagger.scores(batch, True) for _ in range(-(-len(sources) // BATCH))]),
        "reading alone": _rate(len(sources), lambda: [tagger.pixels(source.read()) for source in sources]),
        "reading and network": _rate(len(sources), lambda: list(tagger.predict(sources))),
        "test.py --json": _rate(
            len(sources), lambda: _program("test.py", str(given.data), "--run", str(given.run), "--json")
        ),
    }
    for name, rate in rates.items():
        print(f"{name:<24}{rate:>8.0f} pictures a second")


def _rate(pictures: int, work: Callable) -> float:
    started = time.perf_counter()
    work()
    return pictures / (time.perf_counter() - started)


@contextlib.contextmanager
def _server(run: Path):
    """serve.py in another process, answering: gives the process and its port."""
    from web import load

    with tempfile.TemporaryDirectory() as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = ["--run", str(run), "--port", str(port), "--events", f"{folder}/events.sqlite"]
        server = subprocess.Popen([sys.executable, str(Path(__file__).parent / "serve.py"), *options])
        try:
            while not load.answers("127.0.0.1", port):
                if server.poll() is not None:
                    raise InputError("serve.py has ended, for the reason above")
                time.sleep(0.2)
            yield server, port
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


def load_server(given, clients: int = 64) -> None:
    """Print how serve.py does with many clients at once, beside the rate of the same pictures in batches here."""
    if given.run.suffix != ".onnx":
        import_quietly("keras")
    from model import inputs
    from model.predict import Tagger
    from web import load

    sources, tagger = list(inputs.find([str(given.data)])), Tagger.load(given.run)
    paths = [source.path for source in sources]
    batches, serving = [], []
    with _server(given.run) as (_, port):
        load.load("127.0.0.1", port, paths, clients, 4 * clients)  # compiled, and threads started
        for _ in range(3):  # in turns, so that a busy machine is as busy for one as for the other
            batches.append(_rate(len(sources), lambda: list(tagger.predict(sources))))
            serving.append(load.load("127.0.0.1", port, paths, clients, len(paths)))
    rates = [result["status"].get(200, 0) / result["seconds"] for result in serving]
    quantiles = statistics.quantiles((seconds for result in serving for seconds in result["latency"]), n=100)
    print(f"{clients} clients, {len(sources)} requests of one picture, three times: status {[r['status'] for r in serving]}")
    print(f"in batches, without a server  {statistics.median(batches):>8.0f} pictures a second")
    ratio = statistics.median(a / b for a, b in zip(rates, batches, strict=True))
    print(f"serve.py                      {statistics.median(rates):>8.0f} pictures a second, {ratio:.2f} of that")
    print(f"latency  median {1000 * quantiles[49]:.0f} ms  p99 {1000 * quantiles[98]:.0f} ms")


def fuzz_server(given, number: int = 10_000) -> None:
    """Print what serve.py answers to nonsense, and its memory on the way (Linux)."""
    from model import inputs
    from web import load

    paths = [source.path for source in inputs.find([str(given.data)])][:50]
    with _server(given.run) as (server, port):
        status = Counter()
        for index, code in enumerate(load.fuzz("127.0.0.1", port, paths, number), 1):
            status[code] += 1
            if index % (number // 5) == 0:
                [memory] = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
                say(f"{index:>7,} requests, {int(memory) / 1024:.0f} MiB")
    print(f"{number:,} wrong requests: {dict(sorted(status.items()))} (0: the connection was closed)")


def _mean_and_range(values: list[float]) -> str:
    mean, spread = sum(values) / len(values), (max(values) - min(values)) / 2
    return f"{f'{mean:.3f}' + (f' ±{spread:.3f}' if len(values) > 1 else ''):>16}"


def _program(script: str, *options: str) -> None:
    """Run one of the suite's commands; its progress is shown, its results are not."""
    say(f"$ python {script} {' '.join(options)}")
    path = Path(__file__).parent / script
    if subprocess.run([sys.executable, str(path), *options], stdout=subprocess.DEVNULL, check=False).returncode:
        raise InputError(f"{script} failed, for the reason above")


if __name__ == "__main__":
    run(main, when_interrupted="Finished runs are kept under runs/bench/: the same command goes on.")
