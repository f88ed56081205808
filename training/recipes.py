"""The recipes, and how options, recipe, preset and defaults become a configuration."""

from dataclasses import replace

from model.config import Config
from model.presets import PRESETS

# The learning rate for 32 images per update, and the power of that number to which it is proportional: 1 for SGD (Goyal et
# al., arXiv 1706.02677), and ½ for AdamW and Muon, which divide the gradient by its size (Malladi et al., arXiv 2205.10287).
LEARNING_RATES = {"sgd": (0.2, 1.0), "adamw": (0.0015, 0.5), "muon": (0.004, 0.5)}

# Settings of `model.config.Config` for each recipe. They take precedence over the preset, and options over them.
RECIPES = {
    "default": {},
    # The plain ResNet with which the default is compared.
    "plain": {
        "head": "pool",
        "optimizer": "sgd",
        "momentum": 0.9,
        "lowest_momentum": 0.9,
        "clip_norm": 0.0,
    },
    # As published in 2021. With these learning rates, a loss that is summed over tags diverges; its mean does not.
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


def resolve(settings: dict) -> Config:
    """Return the configuration for settings from the command line, completed by recipe, preset and defaults.

    Args:
        settings: values by the names of `Config`'s fields; not all have to be present.

    Raises:
        InputError: a value is not one of the allowed ones, or out of range.
    """
    base = Config(**{name: settings[name] for name in ("preset", "recipe") if name in settings})
    config = replace(base, **(PRESETS[base.preset] | RECIPES[base.recipe] | settings))
    if config.learning_rate:
        return config
    rate, power = LEARNING_RATES[config.optimizer]
    batch = max(config.batch_size, config.effective_batch)
    return replace(config, learning_rate=float(f"{rate * (batch / 32) ** power:.2g}"))
