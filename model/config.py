"""Every choice of a training run in one flat, typed record; train.py's options are made from it."""

import math
from dataclasses import asdict, dataclass, field, fields, replace

from command import InputError
from dataset.images import RESIZE_MODES

LARGEST_IMAGE = 4096  # side of what a network sees, in pixels
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def choice(default, help_text: str, options: tuple[str, ...] | None = None):
    """A field of `Config` with what `--help` says of it and the values it may take."""
    return field(default=default, metadata={"help": help_text, "choices": options})


@dataclass(frozen=True)
class Config:
    """A run's configuration, as `config.json` holds it.

    Raises:
        InputError: a value is not one of its choices, or out of range.
    """

    preset: str = choice("tiny", "the network", ("tiny", "base", "large", "mobilenet", "efficientnet"))
    recipe: str = choice("default", "how it is trained", ("default", "plain", "e6tag"))
    epochs: int = choice(4, "passes over the training split")
    batch_size: int = choice(32, "images a step; auto: the most that fit in memory, up to --effective-batch")
    effective_batch: int = choice(0, "images an update, whose gradients are added up over several steps; 0: one step's")
    seed: int = choice(0, "of weights, order and augmentation")
    image_size: int = choice(64, "side of the network's input, in pixels")
    resize: str = choice("pad", "how a picture becomes a square", RESIZE_MODES)
    activation: str = choice("relu", "of the trunk", ("relu", "silu"))
    head: str = choice("attention", "pooling with an attention residual, or alone", ("attention", "pool"))
    output_rank: int = choice(0, "numbers that the output sees, fewer than the embedding's; 0: the embedding itself")
    noise: str = choice("none", "noise on the logits", ("none", "diagonal", "low-rank"))
    num_factors: int = choice(8, "rank of the low-rank noise")
    noise_samples: int = choice(0, "of the noise, from which its expectation is estimated; 0: exact")
    temperature: float = choice(1.0, "of the noise layer")
    loss: str = choice("bce", "of each tag", ("bce", "focal", "robust", "asymmetric"))
    label_smoothing: float = choice(0.0, "share by which labels are drawn from 0 and 1 towards a half")
    reduction: str = choice("sum", "of the loss over tags", ("sum", "mean"))
    optimizer: str = choice("muon", "what makes an update of a gradient", ("sgd", "adamw", "muon"))
    weight_decay: float = choice(1.0, "share of a weight that adamw and muon take off an update, at learning rate 1")
    learning_rate: float = choice(0.0, "maximum of the cycle; 0: the optimizer's own at batch 32, and its rule for others")
    first_learning_rate: float = choice(0.04, "start of the cycle, as a share of the maximum")
    last_learning_rate: float = choice(0.0, "end of the cycle, as a share of the maximum")
    cycle: str = choice("cosine", "form of the cycle", ("triangle", "cosine"))
    warmup: float = choice(0.3, "share of a cycle on which the rate rises")
    cycles: int = choice(1, "number of cycles, one after the other")
    momentum: float = choice(0.95, "at both ends of the cycle")
    lowest_momentum: float = choice(0.85, "where the learning rate is highest")
    clip_norm: float = choice(1.0, "longest gradient, over all weights; 0 for no limit")
    average: float = choice(0.0, "also keep an average of the weights that remembers this share of itself an update (0.999)")
    init: str = choice("", "run folder whose trunk this one starts from; imagenet: for --preset mobilenet and efficientnet")
    freeze: bool = choice(False, "with --init: train the output alone and leave the trunk as it is")
    unfreeze_after: int = choice(0, "with --init: epochs for which the trunk is frozen and after which it is trained too")
    trunk_rate: float = choice(0.1, "with --init: the trunk's first stage's share of the learning rate; later ones get more")
    precision: str = choice("auto", "of the network's arithmetic; auto: what the device is fast at", PRECISIONS)
    gradient_checkpointing: bool = choice(False, "less memory: compute each block again in the backward pass")
    teacher: str = choice("", "run whose probabilities are learned beside the labels (distillation)")
    teacher_weight: float = choice(0.5, "of the teacher's probabilities in the loss; the labels weigh the rest")
    teacher_temperature: float = choice(1.0, "that softens the teacher's probabilities, and the student's beside them")
    flip: bool = choice(True, "augmentation: mirror left and right")
    vertical_flip: bool = choice(False, "augmentation: mirror top and bottom")
    shift: float = choice(0.0, "augmentation: largest translation, as a share of the side")
    zoom: float = choice(0.0, "augmentation: largest change of scale, as a share")
    colour: float = choice(0.0, "augmentation: largest change of brightness, contrast and saturation, as a share")
    rotation: float = choice(0.0, "augmentation: largest rotation, in degrees")

    def __post_init__(self):
        for entry in fields(self):
            options, value = entry.metadata["choices"], getattr(self, entry.name)
            if options and value not in options:
                raise InputError(f"{_flag(entry.name)} has to be one of {', '.join(options)}. Received: {value!r}")
            if entry.type is float and not math.isfinite(value):
                raise InputError(f"{_flag(entry.name)} has to be a finite number. Received: {value}")
        rates = ("learning_rate", "first_learning_rate", "last_learning_rate")
        for name in ("seed", *rates, "weight_decay", "clip_norm", "rotation", "noise_samples", "output_rank"):
            if not 0 <= getattr(self, name) < 2**32:
                raise InputError(f"{_flag(name)} has to be at least 0 and under {2**32}. Received: {getattr(self, name)}")
        counts = ("epochs", "batch_size", "image_size", "num_factors", "cycles")
        for name in (*counts, "temperature", "teacher_temperature", "trunk_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"{_flag(name)} has to be greater than 0. Received: {getattr(self, name)}")
        for name in ("warmup", "momentum", "lowest_momentum", "shift", "zoom", "colour", "average", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{_flag(name)} has to be at least 0 and under 1. Received: {getattr(self, name)}")
        if not 0 <= self.teacher_weight <= 1:
            raise InputError(f"--teacher-weight has to be from 0 to 1. Received: {self.teacher_weight}")
        if self.effective_batch < 0 or self.effective_batch % self.batch_size:
            multiple = f"a multiple of --batch-size, {self.batch_size}"
            raise InputError(f"--effective-batch has to be {multiple}. Received: {self.effective_batch}")
        if self.image_size % 32 or self.image_size > LARGEST_IMAGE:
            raise InputError(f"--image-size has to be a multiple of 32 up to {LARGEST_IMAGE}. Received: {self.image_size}")
        if self.gradient_checkpointing and not ARCHITECTURES[self.preset].widths:
            raise InputError(f"--gradient-checkpointing is for tiny, base and large. Received: --preset {self.preset}")
        if (self.freeze or self.unfreeze_after) and not self.init:
            raise InputError("--freeze and --unfreeze-after need --init RUN, whose trunk they are about")
        if not 0 <= self.unfreeze_after < self.epochs:
            raise InputError(f"--unfreeze-after has to be under --epochs, {self.epochs}. Received: {self.unfreeze_after}")

    @property
    def frozen_epochs(self) -> int:
        """Epochs, from the first on, in which the trunk stays as it is."""
        return self.unfreeze_after or (self.epochs if self.freeze else 0)

    def as_dict(self) -> dict:
        """For `config.json`."""
        return asdict(self)


def from_dict(values: dict) -> Config:
    """The configuration that `as_dict` gave.

    Raises:
        InputError: a key is unknown or a value wrong.
    """
    unknown = set(values) - {entry.name for entry in fields(Config)}
    if unknown:
        raise InputError(f"unknown settings in the configuration: {', '.join(sorted(unknown))}")
    return Config(**values)


@dataclass(frozen=True)
class Architecture:
    """Widths and depths of a preset, see `model.resnet.trunk`; none of those in `model.applications`. And its head."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    stem_stride: int
    num_heads: int
    head_size: int


ARCHITECTURES = {
    "tiny": Architecture((64, 128, 256, 512), (1, 1, 2, 2), 2, 8, 32),
    "base": Architecture((256, 512, 1024, 2048), (3, 4, 6, 3), 4, 8, 64),
    "large": Architecture((256, 512, 1024, 2048), (3, 4, 23, 3), 4, 16, 64),
    "mobilenet": Architecture((), (), 2, 8, 32),
    "efficientnet": Architecture((), (), 2, 8, 64),
}

# The learning rate at a batch of 32 images, and the power of the batch that it is proportional to. The gradient of SGD is a
# mean, whose steps add up (Goyal et al., arXiv 1706.02677); AdamW and Muon divide it by its own size, which leaves the root
# (Malladi et al., arXiv 2205.10287).
LEARNING_RATES = {"sgd": (0.2, 1.0), "adamw": (0.0015, 0.5), "muon": (0.004, 0.5)}
# What a preset or a recipe sets; an option given on the command line wins over both.
PRESETS = {
    "tiny": {"image_size": 64, "batch_size": 32},
    "base": {"image_size": 224, "batch_size": 12},
    "large": {"image_size": 320, "batch_size": 12},
    "mobilenet": {"image_size": 128, "batch_size": 32},
    "efficientnet": {"image_size": 224, "batch_size": 12},
}
RECIPES = {
    "default": {},
    # The plain ResNet that the default is measured against.
    "plain": {
        "head": "pool",
        "optimizer": "sgd",
        "momentum": 0.9,
        "lowest_momentum": 0.9,
        "clip_norm": 0.0,
    },
    # As published in 2021. These rates need a loss averaged over tags: summed, they diverge.
    "e6tag": {
        "batch_size": 12,
        "epochs": 4,
        "activation": "silu",
        "noise": "low-rank",
        "loss": "robust",
        "optimizer": "sgd",
        "reduction": "mean",
        "learning_rate": 4.0,
        "first_learning_rate": 0.025,
        "last_learning_rate": 0.025,
        "cycle": "triangle",
        "warmup": 0.5,
        "momentum": 0.99,
        "lowest_momentum": 0.99,
        "clip_norm": 0.0,
    },
}


def resolve(given: dict) -> Config:
    """The configuration for the options given on the command line, over the recipe's, the preset's and the defaults."""
    base = Config(**{name: given[name] for name in ("preset", "recipe") if name in given})
    config = replace(base, **(PRESETS[base.preset] | RECIPES[base.recipe] | given))
    if config.learning_rate:
        return config
    rate, power = LEARNING_RATES[config.optimizer]
    batch = max(config.batch_size, config.effective_batch)
    return replace(config, learning_rate=float(f"{rate * (batch / 32) ** power:.2g}"))


def as_options(config: Config) -> list[str]:
    """The options with which train.py gets the same configuration."""
    options = []
    for name, value in config.as_dict().items():
        flag = _flag(name)
        options.append(f"{flag}={value}" if not isinstance(value, bool) else flag if value else f"--no-{flag[2:]}")
    return options


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
