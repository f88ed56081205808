"""A first report about a GPU, in eight minutes: speed and memory of training steps, the largest batch, and a resumed run.

    python -m benchmarks gpu
    KERAS_BACKEND=jax python -m benchmarks gpu

Each measurement is a process of its own with a time limit, so that one that runs out of memory, crashes or hangs is one row
of the table. The result, gpu-BACKEND.json, is written after each. Without a GPU, `--preset test` tries out the command.
"""

import argparse
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.measuring_memory import peak_mb
from benchmarks.reporting import RESULTS, Table
from common.errors import say
from common.files import read_json, write_json
from model.config import Config
from model.presets import ARCHITECTURES

PRESETS = ("tiny", "base", "large")
PRECISIONS = ("float32", "bfloat16", "float16")
STEPS = 8  # timed together
ROUNDS = 3
CASE_SECONDS = 150  # longest time of a measurement
TAGS = 1024
PEERS = ("Keras ResNet-50", "torchvision ResNet-50")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the networks and the time."""
    help_text = f"networks (default: {' '.join(PRESETS)})"
    parser.add_argument("--preset", nargs="+", default=list(PRESETS), choices=tuple(ARCHITECTURES), help=help_text)
    parser.add_argument("--minutes", type=float, default=8.0, help="what begins later is left out (default: 8)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"timed together (default: {STEPS})")
    parser.add_argument("--batch-size", type=int, default=0, help="of the preset if left out")
    parser.add_argument("--case", help=argparse.SUPPRESS)  # what a process of its own measures
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)


def measure(options: argparse.Namespace) -> None:
    """Measure everything, one process after the other, and write what there is after each."""
    if options.case:
        case = json.loads(options.case)
        write_json(options.out, MEASUREMENTS[case["kind"]](case))
        return
    started, rows, machine = time.monotonic(), [], {}
    path = RESULTS / f"gpu-{keras.backend.backend()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    for case in cases(options):
        left = 60 * options.minutes - (time.monotonic() - started)
        result: dict = _in_own_process(case, min(CASE_SECONDS, left)) if left > 0 else {"left out": "no time left"}
        machine = result.pop("machine", machine)
        rows.append({"case": case, "result": result})
        rate = f"{result['images_per_second']:,.1f} images/s, " if "images_per_second" in result else ""
        say(f"{name_of(case)}: {rate}{in_words(result)}")
        if machine:  # else nothing is measured yet, and an earlier report stays
            write_json(path, {"subject": "gpu", "machine": machine, "figures": {"rows": rows}})
    print(f"{table({'rows': rows}).as_text()}\n{path if machine else 'Nothing was measured: give more --minutes'}")


def cases(options: argparse.Namespace) -> list[dict]:
    """Return what is measured, the most important first."""
    sizes = {"steps": options.steps, "batch_size": options.batch_size}
    step: dict[str, Any] = {"kind": "step", "xla": True, "checkpointing": False} | sizes
    found: list[dict[str, Any]] = [{"kind": "device"}]
    found += [step | {"network": preset, "precision": precision} for preset in options.preset for precision in PRECISIONS]
    largest = options.preset[-1]
    found += [{"kind": "batch", "network": largest}, {"kind": "resume", "network": options.preset[0]}]
    middle = options.preset[len(options.preset) // 2]
    found += [
        step | {"network": middle, "precision": "bfloat16"} | change for change in ({"xla": False}, {"checkpointing": True})
    ]
    return found + [step | {"network": peer, "like": middle, "precision": "bfloat16"} for peer in PEERS]


def name_of(case: dict) -> str:
    """Return a case in words."""
    if case["kind"] != "step":
        network = f" of {case['network']}" if "network" in case else ""
        return {"device": "matrix product", "batch": "largest batch", "resume": "a killed run"}[case["kind"]] + network
    notes = [case["precision"], *(["no XLA"] if not case["xla"] else []), *(["recomputed"] if case["checkpointing"] else [])]
    return f"{case['network']}, {', '.join(notes)}"


def in_words(result: dict) -> str:
    """Return a result without the figures that have columns of their own."""
    columns = ("images_per_second", "mfu", "peak_mb")
    values = {name: value for name, value in result.items() if name not in columns}
    parts = (
        f"{name.replace('_', ' ')} {value:,.4g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in values.items()
    )
    return ", ".join(parts)


def table(figures: dict) -> Table:
    """Return the table of a result."""
    rows = []
    for row in figures["rows"]:
        result = row["result"]
        formats = {"images_per_second": "{:,.1f}", "mfu": "{:.1%}", "peak_mb": "{:,.0f}"}
        cells = [text.format(result[name]) if name in result else "" for name, text in formats.items()]
        rows.append([name_of(row["case"]), *cells, in_words(result)])
    return Table(["", "images/s", "MFU", "peak MB", "and"], rows)


def _in_own_process(case: dict, seconds: float) -> dict:
    """Measure a case in another process; return its result, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks", "gpu", "--case", json.dumps(case), "--out", str(out)]
        environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)  # so that it leaves nothing behind
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as process:
            try:
                messages = process.communicate(timeout=seconds)[1]
            except subprocess.TimeoutExpired:
                return {"left out": f"not ready after {seconds:.0f} s"}
            finally:
                if process.poll() is None:
                    process.kill()
                    if hasattr(os, "killpg"):  # not on Windows
                        os.killpg(process.pid, signal.SIGKILL)  # what it started itself
        if out.exists():
            return read_json(out)
        lines = [line.strip() for line in messages.splitlines() if line.strip()]
        return {"failed": (lines[-1] if lines else f"exit code {process.returncode}")[:200]}


def _device(case: dict) -> dict:
    """Return the machine, and the operations a second of a matrix product in each precision."""
    from benchmarks.measuring import peak_flops
    from benchmarks.reporting import machine

    rates = {f"{name}_tflops": round(peak_flops(name) / 1e12, 3) for name in PRECISIONS}
    return {"machine": machine()} | rates


def _step(case: dict) -> dict:
    """Time training steps of a network on synthetic pictures."""
    from benchmarks import step
    from benchmarks.measuring import forward_flops, peak_flops
    from model import devices
    from training.recipes import resolve

    preset, sizes = case.get("like", case["network"]), {"batch_size": case["batch_size"]} if case["batch_size"] else {}
    settings = {"preset": preset, "precision": case["precision"], "gradient_checkpointing": case["checkpointing"]}
    config = resolve(settings | sizes)
    devices.use_precision(case["precision"])
    side, images = config.image_size, case["steps"] * config.batch_size
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (images, side, side, 3), np.uint8)
    labels = (random.random((images, TAGS)) < 0.02).astype(np.float32)
    network = step.keras_resnet(side, TAGS) if case["network"] in PEERS else _compiled(config, case["xla"])
    flops = 3 * forward_flops(network)  # backward: twice the forward pass
    if case["network"] == PEERS[1]:
        run = step.torchvision_steps(pixels, labels, config.batch_size, case["precision"])
        if run is None:
            return {"left out": "torchvision is not installed"}
    else:
        run = functools.partial(network.fit, pixels, labels, config.batch_size, shuffle=False, verbose=0)
    seconds = []
    for _ in range(ROUNDS + 1):  # the first compiles
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    rate = images / min(seconds[1:])
    return {
        "images_per_second": rate,
        "ms_per_step": 1000 * config.batch_size / rate,
        "mfu": flops * rate / peak_flops(case["precision"]),
        "peak_mb": _device_peak_mb(),
        "compile_seconds": seconds[0],
        "image_size": side,
        "batch_size": config.batch_size,
    }


def _compiled(config: Config, xla: bool) -> keras.Model:
    """Return a network with the recipe's optimizer."""
    from model.network import TaggerNetwork
    from training.optimizers import build_optimizer

    network = TaggerNetwork(TAGS, config.as_dict())
    optimizer = build_optimizer(config, config.learning_rate, config.momentum, updates=1000)
    network.compile(optimizer=optimizer, jit_compile=xla)
    return network


def _device_peak_mb() -> float:
    """Return the largest memory in use on the GPU so far, in megabytes; without one, that of the process."""
    from model import devices

    if devices.gpus() and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6
    if devices.gpus() and keras.backend.backend() == "jax":
        import jax

        return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 1e6
    return peak_mb()


def _batch(case: dict) -> dict:
    """Return the batch that `train.py --batch-size auto` would choose."""
    from training.memory import largest_batch
    from training.recipes import resolve

    config = resolve({"preset": case["network"]})
    effective = config.effective_batch or config.batch_size
    return {"batch_size": largest_batch(effective, 1, lambda _: _compiled(config, True)), "effective_batch": effective}


def _resume(case: dict) -> dict:
    """Train on a few pictures, once undisturbed and once killed and resumed, and compare the weights."""
    from model import run_folder

    root = Path(__file__).parent.parent
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = ["--board", "openmoji", "--tags", "12", "--positives", "25", "--size", "64"]
        download = [sys.executable, str(root / "download.py"), *pictures, "--out", str(folder / "data")]
        subprocess.run(download, capture_output=True, check=True)

        def train(run: str) -> list[str]:
            options = ["--data", str(folder / "data"), "--run", str(folder / run), "--no-onnx", "--preset", case["network"]]
            return [sys.executable, str(root / "train.py"), *options, "--epochs", "2", "--batch-size", "16"]

        subprocess.run(train("undisturbed"), capture_output=True, check=True)
        with subprocess.Popen(train("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and not list((folder / "killed").glob("checkpoint-*.npz")):
                time.sleep(0.02)
            was_running = process.poll() is None
            process.kill()
        subprocess.run(train("killed"), capture_output=True, check=True)
        one, other = (
            run_folder.load_network(folder / run / "model.keras").get_weights() for run in ("undisturbed", "killed")
        )
        difference = max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))
    return {"killed_while_running": was_running, "largest_difference_of_weights": difference}


MEASUREMENTS = {"device": _device, "step": _step, "batch": _batch, "resume": _resume}
