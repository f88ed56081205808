"""A training step on synthetic pictures, beside ResNet-50s of other libraries at the same size and batch.

    KERAS_BACKEND=jax python -m benchmarks step
    python -m benchmarks step --preset base

MFU (model FLOP utilization) is the share of the operations a second that a large matrix product reaches. Result: step.json.
"""

import argparse

import keras
import numpy as np

from benchmarks.measuring import forward_flops, peak_flops, side_by_side, use_xla
from benchmarks.reporting import Table, as_json, report
from model import devices
from model.network import TaggerNetwork
from model.presets import PRESETS
from training.optimizers import build_optimizer
from training.recipes import resolve

STEPS = 8  # timed together
PEER = "Keras ResNet-50"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sizes and the precision."""
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny", help="network (default: tiny)")
    parser.add_argument("--image-size", type=int, help="of the preset if left out")
    parser.add_argument("--batch-size", type=int, help="of the preset if left out")
    parser.add_argument("--tags", type=int, default=1024, help="number of tags (default: 1024)")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed (default: 5)")


def measure(options: argparse.Namespace) -> None:
    """Time some steps of each network, in turns."""
    sizes = {name: value for name in ("image_size", "batch_size") if (value := getattr(options, name))}
    precision = devices.precision(options.precision)
    config = resolve({"preset": options.preset, "recipe": "lean", "precision": precision} | sizes)
    devices.use_precision(precision)
    networks = {
        f"e6tag {options.preset}": _e6tag(config, options.tags),
        f"e6tag {options.preset}, noise": _e6tag(resolve(config.as_dict() | {"noise": "diagonal"}), options.tags),
        PEER: keras_resnet(config.image_size, options.tags),
    }
    flops = {name: 3 * forward_flops(network) for name, network in networks.items()}  # backward: twice the forward pass
    random = np.random.default_rng(0)
    side, images = config.image_size, STEPS * config.batch_size
    pixels = random.integers(0, 256, (images, side, side, 3), np.uint8)
    labels = (random.random((images, options.tags)) < 0.02).astype(np.float32)

    def steps(network):
        return lambda: network.fit(pixels, labels, config.batch_size, shuffle=False, verbose=0)

    runs = {name: steps(network) for name, network in networks.items()}
    if (torch_steps := torchvision_steps(pixels, labels, config.batch_size, precision)) is not None:
        runs["torchvision ResNet-50"] = torch_steps
        flops["torchvision ResNet-50"] = flops[PEER]
    seconds = side_by_side(runs, options.rounds)
    peak = peak_flops(precision)
    networks_figures = {}
    for name, value in seconds.items():
        mfu = flops[name] * images / value / peak
        networks_figures[name] = {"images_per_second": images / value, "flops_per_image": flops[name], "mfu": mfu}
    print(f"{devices.describe()}, {precision}, {side} px, batch {config.batch_size}, {options.tags:,} tags")
    print(f"peak, measured by a matrix product: {peak / 1e12:.3f} TFLOP/s")
    figures = {"options": as_json(options), "peak_flops": peak, "networks": networks_figures}
    report("step", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each network."""
    options, networks, rows = figures["options"], figures["networks"], []
    batch_size = options["batch_size"] or PRESETS[options["preset"]]["batch_size"]
    for name, network in networks.items():
        rate = network["images_per_second"]
        cells = [f"{rate:,.1f}", f"{1000 * batch_size / rate:,.1f}", f"{network['flops_per_image'] / 1e9:.2f}"]
        rows.append([name, *cells, f"{network['mfu']:.1%}", f"{rate / networks[PEER]['images_per_second']:.2f}"])
    return Table(["training", "images/s", "ms/step", "GFLOP/image", "MFU", f"times {PEER}"], rows)


def _e6tag(config, num_tags: int) -> keras.Model:
    network = TaggerNetwork(num_tags, config.as_dict())
    network.compile(
        optimizer=build_optimizer(config, config.learning_rate, config.momentum, updates=1000), jit_compile=use_xla()
    )
    return network


def keras_resnet(side: int, num_tags: int) -> keras.Model:
    network = keras.applications.ResNet50(
        weights=None, input_shape=(side, side, 3), classes=num_tags, classifier_activation=None
    )
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    network.compile(optimizer=keras.optimizers.SGD(0.01, 0.9, nesterov=True), loss=loss, jit_compile=use_xla())
    return network


def torchvision_steps(pixels: np.ndarray, labels: np.ndarray, batch_size: int, precision: str):
    """Return a function that makes the same steps with PyTorch, eager and channels last; None if torchvision is missing."""
    try:
        import torch
        import torchvision
    except ImportError:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = torchvision.models.resnet50(num_classes=labels.shape[1]).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9, nesterov=True)
    loss_of = torch.nn.BCEWithLogitsLoss()

    def steps():
        for at in range(0, len(pixels), batch_size):
            images = torch.from_numpy(pixels[at : at + batch_size]).to(device).permute(0, 3, 1, 2)
            images = images.to(torch.float32, memory_format=torch.channels_last) / 127.5 - 1
            with torch.autocast(device, getattr(torch, precision), enabled=precision != "float32"):
                loss = loss_of(network(images), torch.from_numpy(labels[at : at + batch_size]).to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return float(loss)

    return steps
