"""The trunk of one run as the start of another, which has other tags: frozen at first, if wanted, then trained too.

Its early stages, whose features serve any pictures, are trained at a lower rate than the later ones and the head
(discriminative learning rates; Howard & Ruder, ULMFiT, arXiv 1801.06146).
"""

from pathlib import Path

import keras

from command import InputError
from model import applications, runs
from model.applications import BUILD, IMAGENET
from model.config import Config
from model.runs import Run
from model.tagger import TaggerNetwork

ARCHITECTURE = ("preset", "activation", "head")  # settings that a trunk is made by
SEEN = ("image_size", "resize")  # what its pictures were like; a new run may change that


def settings(given: dict) -> dict:
    """Settings with those of the run that `init` names, where they are not given.

    Raises:
        InputError: there is no such run, or the given ones are of another trunk.
    """
    if given["init"] == IMAGENET:
        if given.get("preset") not in BUILD:
            raise InputError(f"--init {IMAGENET} needs --preset {' or '.join(BUILD)}")
        return given
    base = runs.load(Path(given["init"])).config
    for name in ARCHITECTURE:
        if given.get(name, getattr(base, name)) != getattr(base, name):
            option = f"--{name} {given[name]}"
            raise InputError(f"the trunk of {given['init']} has {name} {getattr(base, name)}: leave {option} out")
    return {name: getattr(base, name) for name in ARCHITECTURE + SEEN} | given


def take_trunk(run: Run, network: TaggerNetwork) -> None:
    """Give a network the weights of the trunk that its run starts from, where it starts from one.

    Raises:
        InputError: there is none, or it is another one by now.
    """
    config, trunk = run.config, network.trunk()
    if not config.init:
        return
    if config.init == IMAGENET:
        source = applications.trained(config.preset, config.image_size)
        wanted = keras.Model(trunk.input, trunk.get_layer("features").input)  # ImageNet knows nothing of the embedding
    else:
        source, wanted = runs.load_network(Path(config.init) / "model.keras").trunk(), trunk
    found = {_name(variable): variable for variable in source.variables}
    for variable in wanted.variables:
        if _name(variable) not in found or found[_name(variable)].shape != variable.shape:
            raise InputError(f"{config.init} has another trunk than {run.folder} was begun with: give another --run")
        variable.assign(found[_name(variable)])


def _name(variable: keras.Variable) -> str:
    """What a variable is called in its layer, and the layer, without what the layer is part of."""
    return "/".join(variable.path.split("/")[-2:])


def begin_phase(config: Config, network: TaggerNetwork, epoch: int) -> None:
    """Freeze or thaw the trunk, as it has to be from an epoch on, and give its stages their shares of the learning rate."""
    frozen = epoch < config.frozen_epochs
    network.freeze(frozen)
    if config.init:
        optimizer = getattr(network.optimizer, "inner_optimizer", network.optimizer)  # the one in float16 scales the loss
        optimizer.shares = shares(network, 0.0 if frozen else config.trunk_rate)


def shares(network: TaggerNetwork, trunk_rate: float) -> list[float]:
    """What share of the learning rate each trainable variable of a network gets.

    The layers of one resolution are a stage: from the finest, which gets `trunk_rate`, to the head, which gets 1, by equal
    factors. The embedding's own layer is part of the head, but frozen with the trunk, at rate 0.
    """
    trained = [layer for layer in network.trunk().layers if layer.trainable_variables]
    heights = {layer.name: layer.output.shape[1] for layer in trained if len(layer.output.shape) == 4}
    stages = sorted(set(heights.values()), reverse=True)
    share = {}
    for layer in trained:
        depth = stages.index(heights[layer.name]) / len(stages) if layer.name in heights else 1.0
        share |= {id(variable): trunk_rate ** (1 - depth) if trunk_rate else 0.0 for variable in layer.trainable_variables}
    return [share.get(id(variable), 1.0) for variable in network.trainable_variables]
