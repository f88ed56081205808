"""Which device computes a network for test.py, serve.py and search.py."""

import numpy as np
import pytest
from conftest import program

from inference.tagger import Tagger, read_run
from model import devices, onnx_session
from model.onnx_session import PROVIDERS, open_session

ort = pytest.importorskip("onnxruntime", reason="needs requirements-export.txt")
# What ONNX Runtime offers on computers with an NVIDIA GPU, on Windows, on an AMD GPU, on macOS and elsewhere.
NVIDIA, WINDOWS, AMD, MACOS, OTHER = (
    [*(PROVIDERS[name] for name in names), "AzureExecutionProvider", PROVIDERS["cpu"]]
    for names in (("tensorrt", "cuda"), ("directml",), ("rocm",), ("coreml",), ())
)


@pytest.mark.parametrize(
    "offered, device, asked_for",
    [
        (NVIDIA, None, ["cuda", "cpu"]),
        (NVIDIA, "cpu", ["cpu"]),
        (NVIDIA, "tensorrt", ["tensorrt", "cuda", "cpu"]),
        (WINDOWS, None, ["directml", "cpu"]),
        (AMD, None, ["rocm", "cpu"]),
        (MACOS, None, ["cpu"]),
        (MACOS, "coreml", ["coreml", "cpu"]),
        (OTHER, None, ["cpu"]),
    ],
)
def test_gpus_are_used_and_compilers_only_if_asked_for(offered, device, asked_for, monkeypatch, capsys):
    class Session:
        def __init__(self, network, options, providers):
            self.get_providers = lambda: providers

    monkeypatch.setattr(ort, "get_available_providers", lambda: offered)
    monkeypatch.setattr(ort, "InferenceSession", Session)
    assert open_session(b"", "a.onnx", device).get_providers() == [PROVIDERS[name] for name in asked_for]
    assert not capsys.readouterr().err


def test_a_gpu_that_fails_is_named_in_one_line(emoji_onnx, monkeypatch, capsys):
    open_on_cpu = ort.InferenceSession
    monkeypatch.setattr(ort, "get_available_providers", lambda: NVIDIA)
    monkeypatch.setattr(ort, "InferenceSession", lambda network, options, providers: open_on_cpu(network, options))
    open_session(emoji_onnx, "a.onnx")
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("a.onnx is computed with cpu: ONNX Runtime cannot use cuda here")
    read_run(emoji_onnx)  # computes nothing
    assert not capsys.readouterr().err


def test_test_py_names_the_device_that_computes_instead_of_the_one_asked_for(emoji_onnx, emoji_pictures):
    options = (emoji_pictures[0], "--run", emoji_onnx, "--threshold", 0, "--json", "--device")
    asked, plain = program("test.py", *options, "coreml"), program("test.py", *options, "cpu")
    assert asked.stdout == plain.stdout != "" and plain.stderr == "" and len(asked.stderr.splitlines()) == 1
    assert f"{emoji_onnx} is computed with cpu" in asked.stderr and "coreml" in asked.stderr
    wrong = program("test.py", *options, "gpu")
    assert wrong.returncode == 1 and "invalid choice" in wrong.stderr


def test_a_run_folder_names_what_computes_it(emoji_run, monkeypatch, capsys):
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert np.isfinite(Tagger.open(emoji_run, "coreml").probabilities(pixels)).all()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{emoji_run} is computed with ") and "--device coreml" in line
    for gpus, fitting in (([], {"cpu"}), (["gpu:0"], {"cuda", "rocm"})):
        monkeypatch.setattr(devices, "gpus", lambda gpus=gpus: gpus)
        for device in onnx_session.PROVIDERS:
            devices.say_if_not(device, "a")
            assert (not capsys.readouterr().err) == (device in fitting)
