"""The recipes, and how options, recipe, preset and defaults become a configuration."""

from dataclasses import replace
from typing import Any

from common.errors import InputError
from model.config import Config
from model.presets import ARCHITECTURES, FILE, PRESETS

# The learning rate for 32 images per update, and the power of that number to which it is proportional: 1 for SGD (Goyal et
# al., arXiv 1706.02677), and ½ for AdamW and Muon, which divide the gradient by its size (Malladi et al., arXiv 2205.10287).
LEARNING_RATES = {"sgd": (0.2, 1.0), "adamw": (0.0015, 0.5), "muon": (0.004, 0.5)}

LEAN: dict[str, Any] = {"activation": "relu", "noise": "none", "loss": "bce", "output_rate": 1.0}

# Settings of `model.config.Config` for each recipe. They take precedence over the preset, and options over them.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    # Less: without SiLU, noise layer, focal and robust loss.
    "lean": LEAN,
    # The plain ResNet with which the default is compared.
    "plain": LEAN
    | {
        "head": "pool",
        "optimizer": "sgd",
        "momentum": 0.9,
        "lowest_momentum": 0.9,
        "clip_norm": 0.0,
    },
    # As published in 2021. With these learning rates, a loss that is summed over tags diverges; its mean does not. The
    # residual of the robust loss is the focal loss itself, and shape and scale stay 1, as in the code of that time: with any
    # other reading the steps are too large (`python -m benchmarks published`).
    "e6tag": {
        "batch_size": 12,
        "epochs": 4,
        "activation": "silu",
        "noise": "low-rank",
        "loss": "robust",
        "optimizer": "sgd",
        "reduction": "mean",
        "rooted_residual": False,
        "robust_travel": 0.0,
        "output_rate": 1.0,
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


# Settings with which the default recipe trains a trunk that knows pictures already (`model.pretrained`), see docs/train.md.
FINE_TUNING: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 0.001,
    "output_rate": 1.0,
    "trunk_rate": 0.3,
    "loss": "bce",  # the focal loss under the robust one had a lower macro AUC, see docs/results.md
}
# With fewer training pictures than this, its first stages stay as they are. The number is a guess: freezing was
# compared only on the demo's 3,178 pictures.
FEW_PICTURES, FROZEN_STAGES = 20_000, 3


def resolve(settings: dict, train_images: int | None = None) -> Config:
    """Return the configuration for settings from the command line, completed by recipe, preset and defaults.

    Args:
        settings: values by the names of `Config`'s fields; not all have to be present.
        train_images: number of training pictures, if it is known.

    Raises:
        InputError: a value is not one of the allowed ones, or out of range.
    """
    # Not in `Config`, which also reads stored runs of versions that accepted it.
    if settings.get("trunk_rate", Config.trunk_rate) != Config.trunk_rate and not settings.get("init"):
        raise InputError("--trunk-rate needs --init: it is the learning rate of its trunk")
    base = Config(**{name: settings[name] for name in ("preset", "recipe") if name in settings})
    fine_tuning: dict[str, Any] = {}
    if settings.get("init") and not ARCHITECTURES[base.preset].widths and base.recipe == "default":
        few = train_images is not None and train_images < FEW_PICTURES and not settings.get("freeze")
        few = few and base.preset != FILE  # the stages of a trunk out of a file are not known
        fine_tuning = FINE_TUNING | ({"frozen_stages": FROZEN_STAGES} if few else {})
        if "optimizer" in settings:
            del fine_tuning["learning_rate"]
    config = replace(base, **(PRESETS[base.preset] | RECIPES[base.recipe] | fine_tuning | settings))
    if config.learning_rate:
        return config
    rate, power = LEARNING_RATES[config.optimizer]
    batch = max(config.batch_size, config.effective_batch)
    return replace(config, learning_rate=float(f"{rate * (batch / 32) ** power:.2g}"))
