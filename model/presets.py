"""The presets: architecture and default settings of each size of network."""

from dataclasses import dataclass

FILE = "file"  # preset of a trunk that --init reads from a file


@dataclass(frozen=True)
class Architecture:
    """The architecture of a preset.

    Attributes:
        widths, depths, stem_stride: of the trunk, see `model.resnet.trunk`; widths and depths are empty for the trunks of
            `model.pretrained` and `model.trunk_file`.
        num_heads, head_size: of `model.attention_pooling.AttentionPooling`.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    stem_stride: int
    num_heads: int
    head_size: int


ARCHITECTURES = {
    "test": Architecture((64, 128), (1, 1), 2, 4, 16),
    "tiny": Architecture((64, 128, 256, 512), (1, 1, 2, 2), 2, 8, 32),
    "base": Architecture((256, 512, 1024, 2048), (3, 4, 6, 3), 4, 8, 64),
    "large": Architecture((256, 512, 1024, 2048), (3, 4, 23, 3), 4, 16, 64),
    "lite0": Architecture((), (), 2, 8, 32),
    "mobilenet": Architecture((), (), 2, 8, 32),
    "efficientnet": Architecture((), (), 2, 8, 64),
    FILE: Architecture((), (), 2, 8, 32),
}

# Range of pixel values that a trunk out of a file may expect ▶ factor and offset that make it of 0 to 255. `signed` is -1
# to 1, `imagenet` what PyTorch's trunks take.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS: dict[str, tuple] = {
    "0..255": (1.0, 0.0),
    "0..1": (1 / 255, 0.0),
    "signed": (1 / 127.5, -1.0),
    "imagenet": (
        [1 / (255 * deviation) for deviation in _DEVIATION],
        [-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)],
    ),
}

# Settings of `model.config.Config` for each preset. A recipe and options on the command line take precedence.
PRESETS = {
    "test": {"image_size": 64, "batch_size": 8},
    "tiny": {"image_size": 64, "batch_size": 32},
    "base": {"image_size": 224, "batch_size": 12},
    "large": {"image_size": 320, "batch_size": 12},
    "lite0": {"image_size": 128, "batch_size": 32},
    "mobilenet": {"image_size": 128, "batch_size": 32},
    "efficientnet": {"image_size": 224, "batch_size": 12},
    FILE: {"image_size": 128, "batch_size": 32},
}
