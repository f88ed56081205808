"""Transfer learning: a run starts from the trunk of another run, which may be frozen for some epochs.

The early stages of the trunk, whose features are useful for any pictures, have a lower learning rate than the later ones and
the head (discriminative learning rates; Howard & Ruder, ULMFiT, arXiv 1801.06146).
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.errors import InputError, say
from model import pretrained, run_folder, trunk_file
from model.config import Config
from model.network import EMBEDDING, OUTPUTS, TAGS, TaggerNetwork
from model.presets import FILE
from model.pretrained import IMAGENET, PRETRAINED
from model.run_folder import Run
from training.frozen_trunk import always_frozen_end, frozen_end

ARCHITECTURE = ("preset", "activation", "head", "pixels")  # settings that have to be those of the trunk
INPUT = ("image_size", "resize")  # settings that a new run may change
OUTPUT = ("bottleneck", "noise", "num_factors", "noise_samples", "temperature", "loss", "rooted_residual")


def inherited_settings(settings: dict) -> dict:
    """Return settings, completed by those of the run that `init` names.

    Args:
        settings: values by the names of `Config`'s fields, `init` among them.

    Raises:
        InputError: there is no such run, or the settings do not fit its trunk.
    """
    init = settings["init"]
    if settings.get("freeze") and settings.get("unfreeze_after"):
        raise InputError("--freeze freezes the trunk in all epochs, --unfreeze-after in the first ones: give one of them")
    if settings.get("init_output") and (init == IMAGENET or trunk_file.is_trunk_file(init)):
        raise InputError(
            f"--init-output needs --init with a run folder, whose output layer it takes. Received: --init {init}"
        )
    if init == IMAGENET:
        if settings.get("preset") not in PRETRAINED:
            raise InputError(f"--init {IMAGENET} needs --preset {', '.join(PRETRAINED[:-1])} or {PRETRAINED[-1]}")
        return settings
    if trunk_file.is_trunk_file(init):
        return trunk_file.settings(init, settings)
    if not (Path(init) / "config.json").is_file():
        raise InputError(
            f"--init: {init} is not a run folder: give one, a .keras or .onnx file, a folder of keras-hub, or {IMAGENET}"
        )
    base = run_folder.load(Path(init)).config
    for name in ARCHITECTURE:
        if settings.get(name, getattr(base, name)) != getattr(base, name):
            raise InputError(f"the trunk of {init} has {name} {getattr(base, name)}: leave --{name} {settings[name]} out")
    names = ARCHITECTURE + INPUT + (OUTPUT if settings.get("init_output") else ())
    return {name: getattr(base, name) for name in names} | settings


def trunk_structure(config: Config) -> str:
    """Return the layers of a trunk that comes out of a file, for `TaggerNetwork`; an empty string for others.

    Raises:
        InputError: the file is missing, or is no trunk.
    """
    if config.preset != FILE:
        return ""
    if not config.init:
        raise InputError(f"--preset {FILE} needs --init with a file")
    if trunk_file.is_trunk_file(config.init):
        return trunk_file.load(config.init).to_json()
    return run_folder.load_network(Path(config.init) / "model.keras").trunk_structure


def load_trunk(run: Run, network: TaggerNetwork) -> None:
    """Load the weights of the trunk that a run starts from. Do nothing for a run without `--init`.

    Raises:
        InputError: the trunk is missing, is no longer the one with which the run was started, or has too few stages.
    """
    config, trunk = run.config, network.trunk()
    if not config.init:
        return
    always_frozen_end(config, network)  # raises if there are not so many stages
    without_pooling = keras.Model(trunk.input, trunk.get_layer(EMBEDDING).input)
    if config.init == IMAGENET:
        source, target = pretrained.load_imagenet(config.preset, config.image_size), without_pooling
    elif trunk_file.is_trunk_file(config.init):
        source, target = trunk_file.load(config.init), without_pooling
    else:
        source, target = run_folder.load_network(Path(config.init) / "model.keras").trunk(), trunk
    try:
        for layer in target.layers:
            if layer.weights:
                layer.set_weights(source.get_layer(layer.name).get_weights())
    except ValueError:  # no such layer, or weights of other shapes
        raise InputError(f"{config.init} has another trunk than when {run.folder} was started: give another --run") from None
    if config.init_output:
        load_output(run, network)


def load_output(run: Run, network: TaggerNetwork) -> None:
    """Load the weights of the output layer, and of the robust loss, from the run that a run starts from.

    Outputs are found by the names of their tags; tags that the other run does not have start afresh. Outputs that
    `train.py --teach` added to that run are not among them.

    Raises:
        InputError: that run has none of the tags, or another kind of output.
    """
    other = run_folder.load(Path(run.config.init))
    source = run_folder.load_network(other.folder / "model.keras")
    trained = {tag.name: index for index, tag in enumerate(other.tags[: source.num_tags - source.num_added_outputs])}
    names = [tag.name for tag in run.tags]
    known = [index for index, name in enumerate(names) if name in trained]
    if not known:
        raise InputError(f"--init-output needs a run with tags of {run.data}: {other.folder} has none of them")
    if new := [name for name in names if name not in trained]:
        say(f"{len(new):,} of {len(names):,} tags are not among those of {other.folder} and start afresh, such as {new[0]}")
    columns = [trained[names[index]] for index in known]
    try:
        for layer in network.layers:
            if layer.weights and layer.name.startswith(OUTPUTS):
                weights = source.get_layer(layer.name).get_weights()
                if layer.name == TAGS:
                    pairs = zip(layer.get_weights(), weights, strict=True)
                    weights = [_with_outputs(own, known, len(names), given, columns, len(trained)) for own, given in pairs]
                layer.set_weights(weights)
    except ValueError:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in OUTPUT[:3])
        raise InputError(f"the output layer of {other.folder} is of another kind: leave {options} out") from None
    if network.robust is not None and source.robust is not None:
        network.robust.set_weights(source.robust.get_weights())


def _with_outputs(
    own: np.ndarray, rows: list[int], num_tags: int, given: np.ndarray, columns: list[int], num_given: int
) -> np.ndarray:
    """Return the weights of an output layer, some of whose outputs are those of another.

    Args:
        own: the weights, (…, tags × weights for each tag).
        rows: the outputs that are replaced.
        num_tags: number of tags.
        given, columns, num_given: the other's weights, its outputs that take their place, and the number of its tags.

    Raises:
        ValueError: the two layers are of different kinds.
    """
    result = own.reshape(*own.shape[:-1], num_tags, -1).copy()  # (…, tags, weights for each tag)
    result[..., rows, :] = given.reshape(*given.shape[:-1], num_given, -1)[..., columns, :]
    return result.reshape(own.shape)


def begin_phase(config: Config, network: TaggerNetwork, epoch: int, from_features: bool = False) -> None:
    """Freeze or unfreeze the trunk, and set the learning rates of its stages, for training from an epoch on.

    Args:
        config: the configuration of the run.
        network: the compiled network.
        epoch: the next epoch, counted from 0.
        from_features: the batches hold the outputs of the part that is frozen in all epochs, and not pictures.
    """
    end = frozen_end(config, network, epoch)
    network.freeze(end, always_frozen_end(config, network) if from_features else "")
    # In float16, the optimizer is inside a loss-scaling one.
    optimizer: Any = getattr(network.optimizer, "inner_optimizer", network.optimizer)
    multipliers = lr_multipliers(network, config.trunk_rate if config.init else 1.0, config.output_rate, end)
    if multipliers != optimizer.lr_multipliers:
        optimizer.lr_multipliers = multipliers
        network.train_function = None  # they are compiled into the step


def lr_multipliers(
    network: TaggerNetwork, trunk_rate: float, output_rate: float = 1.0, last_frozen: str = ""
) -> list[float]:
    """Return the factor of the learning rate for each trainable variable of a network.

    All layers of one resolution are a stage. The factors rise from `trunk_rate` at the finest resolution to 1 at the head,
    and each is the same multiple of the one before. The layer of the embedding belongs to the head. Layers without a
    resolution, as in a transformer, have factors that rise from layer to layer.

    Args:
        network: the network.
        trunk_rate: factor for the first stage.
        output_rate: factor for the output layers.
        last_frozen: name of the last frozen layer; it and those before it have factor 0. Empty: none is frozen.

    Returns:
        One factor for each of `network.trainable_variables`, in their order.
    """
    layers = [layer for layer in network.trunk().layers if layer.trainable_variables]
    heights = {layer.name: layer.output.shape[1] for layer in layers if len(layer.output.shape) == 4}
    stages = sorted(set(heights.values()), reverse=True)
    factors = {}
    for index, layer in enumerate(layers):
        if layer.name in heights:
            depth = stages.index(heights[layer.name]) / len(stages)
        else:
            depth = 1.0 if layer.name == EMBEDDING else index / len(layers)
        factors |= {id(variable): trunk_rate ** (1 - depth) for variable in layer.trainable_variables}
    if last_frozen:
        frozen = keras.Model(network.input, network.get_layer(last_frozen).output)
        factors |= {id(variable): 0.0 for variable in frozen.trainable_variables}
    for layer in (layer for layer in network.layers if layer.name.startswith(OUTPUTS)):
        factors |= {id(variable): output_rate for variable in layer.trainable_variables}
    return [factors.get(id(variable), 1.0) for variable in network.trainable_variables]
