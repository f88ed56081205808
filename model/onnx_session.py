"""Networks that ONNX Runtime computes, and the devices that compute them."""

from pathlib import Path

from common.errors import say

CPU = "cpu"
LIBRARIES_TO_WRITE = ("onnx", "onnxruntime", "tf2onnx")  # what writing ONNX files needs
PROVIDERS = {  # device ▶ the name of its provider in ONNX Runtime
    CPU: "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
# Used where ONNX Runtime offers them. TensorRT compiles the network anew for further sizes of a batch, which takes minutes,
# and CoreML may compute in half precision, so these two are used only if they are asked for.
GPUS = ("cuda", "directml", "rocm")


def can_use(device: str | None) -> bool:
    """Return whether ONNX Runtime is installed and offers a device, one of `PROVIDERS`; None stands for any."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        return False
    return device is None or PROVIDERS[device] in onnxruntime.get_available_providers()


def open_session(network: Path | bytes, name: str, device: str | None = None, options=None):
    """Open a network with ONNX Runtime. One line names the device that computes it if that is not the expected one.

    Args:
        network: the file, or its content.
        name: of the network, for the message.
        device: one of `PROVIDERS`; None: a GPU if ONNX Runtime offers one, else the CPU.
        options: an `onnxruntime.SessionOptions`.

    Returns:
        An `onnxruntime.InferenceSession`. What its device cannot compute, the next best one computes.

    Raises:
        ModuleNotFoundError: ONNX Runtime is not installed. It raises its own errors for a damaged network.
    """
    import onnxruntime

    order = [CPU] if device == CPU else [*GPUS, CPU]
    if device and device not in order:
        order.insert(0, device)
    offered = onnxruntime.get_available_providers()
    providers = [PROVIDERS[one] for one in order if PROVIDERS[one] in offered]
    session = onnxruntime.InferenceSession(network, options, providers=providers)
    expected, used = PROVIDERS[device] if device else providers[0], session.get_providers()[0]
    if used != expected:
        names = {provider: one for one, provider in PROVIDERS.items()}
        say(f"{name} is computed with {names[used]}: ONNX Runtime cannot use {names[expected]} here, see docs/export.md")
    return session
