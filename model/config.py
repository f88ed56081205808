"""All settings of a training run in one flat, typed dataclass. The options of train.py are made from it."""

import math
from dataclasses import asdict, dataclass, field, fields

from common.errors import InputError
from dataset.images import RESIZE_MODES
from model.presets import ARCHITECTURES, FILE, PIXELS, PRESETS

LARGEST_IMAGE = 4096  # side of the network's input, in pixels
AUTO = "auto"  # value of a setting that the program chooses
PRECISIONS = (AUTO, "float32", "bfloat16", "float16")

# Settings of earlier versions, so that their runs can still be read.
RENAMED = {"output_rank": "bottleneck", "average": "ema_decay"}  # old name ▶ new name
EARLIER = {"output_rate": 1.0}  # values of settings that earlier versions did not have
REMOVED = {"cycles"}  # unfinished runs with another value than 1 are refused, see `training.plan`


def choice(default, help_text: str, options: tuple[str, ...] | None = None, is_option: bool = True):
    """Return a field of `Config`.

    Args:
        default: the default value.
        help_text: its description in `--help`.
        options: the allowed values, if they are names.
        is_option: False where no option of train.py sets it: a recipe does, or a run of an earlier version has it.
    """
    return field(default=default, metadata={"help": help_text, "choices": options, "is_option": is_option})


@dataclass(frozen=True)
class Config:
    """The configuration of a run, stored in its `config.json`.

    Raises:
        InputError: a value is not one of the allowed ones, or out of range.
    """

    preset: str = choice("tiny", "size of the network", tuple(PRESETS))
    recipe: str = choice("default", "set of training options", ("default", "lean", "plain", "e6tag"))
    epochs: int = choice(4, "passes over the training split")
    batch_size: int = choice(32, "images per step; auto: the most that fit in memory and divide --effective-batch")
    effective_batch: int = choice(0, "images per update: the gradients of several steps are summed; 0: one step per update")
    seed: int = choice(0, "random seed of weights, order and augmentation")
    image_size: int = choice(64, "side of the network's input, in pixels")
    resize: str = choice("pad", "how a picture becomes a square: white borders, distortion or a cut", RESIZE_MODES)
    activation: str = choice("silu", "activation function of the trunk", ("relu", "silu"))
    head: str = choice("attention", "attention pooling, or global average pooling alone", ("attention", "pool"))
    bottleneck: int = choice(0, "width of a linear layer before the output; 0: none")
    noise: str = choice("diagonal", "covariance of the noise layer; none: no noise layer", ("none", "diagonal", "low-rank"))
    num_factors: int = choice(8, "rank of the covariance of --noise low-rank")
    noise_samples: int = choice(0, "samples that estimate the expectation over the noise; 0: exact", is_option=False)
    temperature: float = choice(1.0, "number by which the noise layer divides the logits")
    loss: str = choice("robust", "loss of each tag", ("bce", "focal", "robust", "asymmetric"))
    rooted_residual: bool = choice(True, "whether the residual of the robust loss is √(2 loss)", is_option=False)
    robust_travel: float = choice(1.0, "how far shape and scale of the robust loss may move in a run", is_option=False)
    label_smoothing: float = choice(0.0, "fraction by which the labels 0 and 1 are moved towards 0.5")
    reduction: str = choice("sum", "how the losses of the tags are combined", ("sum", "mean"), is_option=False)
    optimizer: str = choice("muon", "muon: SGD with momentum whose steps are made orthogonal", ("sgd", "adamw", "muon"))
    weight_decay: float = choice(1.0, "decoupled weight decay of adamw and muon, multiplied by the learning rate")
    learning_rate: float = choice(0.0, "maximum learning rate; 0: chosen for the optimizer and the images per update")
    output_rate: float = choice(0.3, "fraction of the learning rate for the output layer", is_option=False)
    first_learning_rate: float = choice(0.04, "learning rate at the start of the cycle, as a fraction of the maximum")
    last_learning_rate: float = choice(0.0, "learning rate at the end of the cycle, as a fraction of the maximum")
    cycle: str = choice("cosine", "shape of the learning-rate cycle", ("triangle", "cosine"))
    warmup: float = choice(0.3, "fraction of the cycle in which the learning rate rises")
    momentum: float = choice(0.95, "momentum at both ends of the cycle")
    lowest_momentum: float = choice(0.9, "momentum where the learning rate is highest")
    clip_norm: float = choice(1.0, "largest norm of the gradient of all weights together; 0: no limit")
    ema_decay: float = choice(0.0, "decay of the exponential moving average of the weights, for example 0.999; 0: off")
    init: str = choice("", "start from the trunk of a run folder, a .keras or .onnx file or a keras-hub folder; or imagenet")
    init_output: bool = choice(False, "with --init RUN: start from its output layer as well, for the tags that it has")
    pixels: str = choice("", "with --init FILE: the pixel values that its trunk expects", ("", *PIXELS))
    freeze: bool = choice(False, "with --init: train only the output and leave the trunk unchanged")
    unfreeze_after: int = choice(0, "with --init: number of epochs in which the trunk is frozen; then it is trained as well")
    frozen_stages: int = choice(0, "with --init: number of stages of the trunk, from the first, that are never trained")
    trunk_rate: float = choice(0.1, "with --init: fraction of the learning rate for the first stage; later stages have more")
    precision: str = choice(AUTO, "number format of the computation; auto: the fastest one of the device", PRECISIONS)
    gradient_checkpointing: bool = choice(False, "save memory: compute each block a second time in the backward pass")
    teacher: str = choice("", "run folder of a teacher, whose probabilities are learned beside the labels (distillation)")
    teacher_weight: float = choice(0.5, "weight of the teacher's probabilities in the loss; the labels have the rest")
    teacher_temperature: float = choice(1.0, "divides the logits of teacher and student in the teacher's part of the loss")
    close_implied: bool = choice(False, "train with the labels that other labels imply, where they are missing")
    flip: bool = choice(True, "augmentation: mirror left and right")
    vertical_flip: bool = choice(False, "augmentation: mirror top and bottom", is_option=False)
    shift: float = choice(0.0, "augmentation: largest translation, as a fraction of the side")
    zoom: float = choice(0.0, "augmentation: largest change of scale, as a fraction")
    colour: float = choice(0.0, "augmentation: largest change of brightness, contrast and saturation, as a fraction")
    rotation: float = choice(0.0, "augmentation: largest rotation, in degrees")
    mixup: float = choice(0.0, "augmentation: alpha of MixUp, which averages pictures and labels in pairs, for example 0.2")

    def __post_init__(self):
        for entry in fields(self):
            options, value = entry.metadata["choices"], getattr(self, entry.name)
            if options and value not in options:
                raise InputError(f"{flag(entry.name)} has to be one of {', '.join(options)}. Received: {value!r}")
            if entry.type is float and not math.isfinite(value):
                raise InputError(f"{flag(entry.name)} has to be a finite number. Received: {value}")
        rates = ("learning_rate", "first_learning_rate", "last_learning_rate")
        for name in (
            "seed",
            *rates,
            "weight_decay",
            "clip_norm",
            "rotation",
            "mixup",
            "noise_samples",
            "bottleneck",
            "robust_travel",
        ):
            if not 0 <= getattr(self, name) < 2**32:
                raise InputError(f"{flag(name)} has to be at least 0 and under {2**32}. Received: {getattr(self, name)}")
        counts = ("epochs", "batch_size", "image_size", "num_factors")
        for name in (*counts, "temperature", "teacher_temperature", "trunk_rate", "output_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"{flag(name)} has to be greater than 0. Received: {getattr(self, name)}")
        for name in ("warmup", "momentum", "lowest_momentum", "shift", "zoom", "colour", "ema_decay", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{flag(name)} has to be at least 0 and under 1. Received: {getattr(self, name)}")
        if not 0 <= self.teacher_weight <= 1:
            raise InputError(f"--teacher-weight has to be from 0 to 1. Received: {self.teacher_weight}")
        if self.effective_batch < 0 or self.effective_batch % self.batch_size:
            multiple = f"a multiple of --batch-size, {self.batch_size}"
            raise InputError(f"--effective-batch has to be {multiple}. Received: {self.effective_batch}")
        if (self.image_size % 32 and self.preset != FILE) or not 0 < self.image_size <= LARGEST_IMAGE:
            raise InputError(f"--image-size has to be a multiple of 32 up to {LARGEST_IMAGE}. Received: {self.image_size}")
        if self.gradient_checkpointing and not ARCHITECTURES[self.preset].widths:
            raise InputError(
                f"--gradient-checkpointing is only for this suite's own ResNets. Received: --preset {self.preset}"
            )
        if (self.freeze or self.unfreeze_after or self.frozen_stages) and not self.init:
            raise InputError("--freeze, --unfreeze-after and --frozen-stages need --init: they freeze its trunk")
        if self.init_output and not self.init:
            raise InputError("--init-output needs --init with a run: it starts from that run's output layer")
        if self.pixels and self.preset != FILE:
            raise InputError("--pixels is for a trunk that --init reads from a file")
        if self.frozen_stages < 0:
            raise InputError(f"--frozen-stages has to be at least 0. Received: {self.frozen_stages}")
        if not 0 <= self.unfreeze_after < self.epochs:
            raise InputError(f"--unfreeze-after has to be under --epochs, {self.epochs}. Received: {self.unfreeze_after}")

    @property
    def frozen_epochs(self) -> int:
        """Number of epochs at the start in which the trunk is frozen."""
        return self.unfreeze_after or (self.epochs if self.freeze else 0)

    def as_dict(self) -> dict:
        """Return the settings as a dictionary, as stored in `config.json`."""
        return asdict(self)


def from_dict(values: dict) -> Config:
    """Return the configuration from a dictionary that `as_dict` made, in this version or an earlier one.

    Raises:
        InputError: a key is unknown, or a value is wrong.
    """
    values = EARLIER | {RENAMED.get(name, name): value for name, value in values.items() if name not in REMOVED}
    unknown = set(values) - {entry.name for entry in fields(Config)}
    if unknown:
        raise InputError(f"unknown settings in the configuration: {', '.join(sorted(unknown))}")
    return Config(**values)


def as_options(config: Config) -> list[str]:
    """Return the options of train.py that give this configuration; its recipe gives the rest."""
    options = []
    for name in (entry.name for entry in fields(config) if entry.metadata["is_option"]):
        value = getattr(config, name)
        option = flag(name)
        options.append(f"{option}={value}" if not isinstance(value, bool) else option if value else f"--no-{option[2:]}")
    return options


def flag(name: str) -> str:
    """Return the option of train.py for a setting."""
    return "--" + name.replace("_", "-")
