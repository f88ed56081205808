"""A training step on synthetic pictures, beside ResNet-50s at the same size and batch."""

import argparse

import keras
import numpy as np

from benchmarks.measuring import forward_flops, given, peak_flops, report, side_by_side, use_xla
from model import devices
from model.config import PRESETS, resolve
from model.optimizers import build_optimizer
from model.tagger import TaggerNetwork

STEPS = 8


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes and precision."""
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny", help="default: tiny")
    parser.add_argument("--image-size", type=int, help="default: the preset's")
    parser.add_argument("--batch-size", type=int, help="default: the preset's")
    parser.add_argument("--tags", type=int, default=1024, help="default: 1024")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")


def measure(options: argparse.Namespace) -> None:
    """Time some steps of each network in turns."""
    sizes = {name: value for name in ("image_size", "batch_size") if (value := getattr(options, name))}
    precision = devices.precision(options.precision)
    config = resolve({"preset": options.preset, "precision": precision} | sizes)
    devices.use_precision(precision)
    networks = {
        f"e6tag {options.preset}": _e6tag(config, options.tags),
        f"e6tag {options.preset}, noise": _e6tag(resolve(config.as_dict() | {"noise": "diagonal"}), options.tags),
        "Keras ResNet-50": _keras_resnet(config.image_size, options.tags),
    }
    flops = {name: 3 * forward_flops(network) for name, network in networks.items()}  # backward: twice the forward pass
    random = np.random.default_rng(0)
    side, images = config.image_size, STEPS * config.batch_size
    pixels = random.integers(0, 256, (images, side, side, 3), np.uint8)
    labels = (random.random((images, options.tags)) < 0.02).astype(np.float32)

    def steps(network):
        return lambda: network.fit(pixels, labels, config.batch_size, shuffle=False, verbose=0)

    runs = {name: steps(network) for name, network in networks.items()}
    if (torch_steps := _torchvision_steps(pixels, labels, config.batch_size, precision)) is not None:
        runs["torchvision ResNet-50"] = torch_steps
        flops["torchvision ResNet-50"] = flops["Keras ResNet-50"]
    seconds = side_by_side(runs, options.rounds)
    peak = peak_flops(precision)
    figures, rows = {}, []
    for name, value in seconds.items():
        rate, used = images / value, flops[name] * images / value / peak
        ratio = value / seconds["Keras ResNet-50"]
        figures[name] = {"images_per_second": rate, "flops_per_image": flops[name], "mfu": used}
        cells = (
            f"{rate:,.1f}",
            f"{1000 * value / STEPS:,.1f}",
            f"{flops[name] / 1e9:.2f}",
            f"{used:.1%}",
            f"{1 / ratio:.2f}",
        )
        rows.append([name, *cells])
    print(f"{devices.name()}, {precision}, {side} px, batch {config.batch_size}, {options.tags:,} tags")
    print(f"peak, measured by a matrix product: {peak / 1e12:.3f} TFLOP/s")
    titles = ["training", "images/s", "ms/step", "GFLOP/image", "MFU", "x ResNet-50"]
    report("step", titles, rows, {"options": given(options), "peak_flops": peak, "networks": figures})


def _e6tag(config, num_tags: int) -> keras.Model:
    network = TaggerNetwork(num_tags, config.as_dict())
    network.compile(optimizer=build_optimizer(config, config.learning_rate, config.momentum), jit_compile=use_xla())
    return network


def _keras_resnet(side: int, num_tags: int) -> keras.Model:
    network = keras.applications.ResNet50(
        weights=None, input_shape=(side, side, 3), classes=num_tags, classifier_activation=None
    )
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    network.compile(optimizer=keras.optimizers.SGD(0.01, 0.9, nesterov=True), loss=loss, jit_compile=use_xla())
    return network


def _torchvision_steps(pixels: np.ndarray, labels: np.ndarray, batch_size: int, precision: str):
    """The same steps by PyTorch, eager, in channels-last layout; None where torchvision is not installed."""
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
