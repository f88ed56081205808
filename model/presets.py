"""The presets: architecture and default settings of each size of network."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """The architecture of a preset.

    Attributes:
        widths, depths, stem_stride: of the trunk, see `model.resnet.trunk`; widths and depths are empty for the trunks of
            `model.pretrained`.
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
}
