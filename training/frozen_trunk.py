"""The frozen part of a trunk, whose outputs are computed once for all training pictures.

A frozen layer gives the same outputs in every epoch, so only the layers after it need to be computed again. The outputs are
stored for each picture and, if training mirrors pictures, for its mirror image. Other augmentation makes a new picture in
every epoch: with it, the frozen part is computed in every step.
"""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace

import keras
import numpy as np

from common.errors import InputError, say
from common.progress import progress
from dataset import records
from dataset.frozen_features import FrozenFeatures
from dataset.ordered_batches import ordered_batches
from model import devices
from model.config import Config
from model.network import EMBEDDING, TaggerNetwork
from training.plan import Plan

BATCH_SIZE = 64
MAX_SHARE = 0.6  # of the free disk space; if the outputs need more, they are computed in every step


def frozen_end(config: Config, network: TaggerNetwork, epoch: int) -> str:
    """Return the name of the last layer that is frozen in an epoch, counted from 0; an empty string if none is.

    Raises:
        InputError: the trunk has fewer stages than are to be frozen.
    """
    if epoch < config.frozen_epochs:
        return EMBEDDING
    if not config.frozen_stages:
        return ""
    ends = network.stage_ends()
    if config.frozen_stages > len(ends):
        raise InputError(
            f"--frozen-stages has to be at most {len(ends)}, the stages of this trunk at {config.image_size} px. "
            f"Received: {config.frozen_stages}"
        )
    return ends[config.frozen_stages - 1]


def always_frozen_end(config: Config, network: TaggerNetwork) -> str:
    """Return the name of the last layer that is frozen in all epochs; an empty string if none is. Errors as above."""
    return frozen_end(config, network, config.epochs - 1)  # the epochs with the whole trunk frozen come first


def with_features(plan: Plan, network: TaggerNetwork) -> Plan:
    """Return the plan with the outputs of the part of the trunk that is frozen in all epochs, if there is one.

    Outputs that an interrupted run has computed are used again.

    Args:
        plan: the plan of the run.
        network: the network, with the weights of the trunk.
    """
    config = plan.run.config
    end = always_frozen_end(config, network)
    if not end or not plan.augmentation.only_mirrors or config.vertical_flip:
        return plan
    frozen = keras.Model(network.input, network.get_layer(end).output)
    shape = (1 + config.flip, *frozen.output.shape[1:])
    size, available = 2 * plan.run.train_images * int(np.prod(shape)), shutil.disk_usage(plan.run.folder).free
    if size > MAX_SHARE * available:
        need = f"would need {size / 2**30:.1f} GiB of {available / 2**30:.1f} available on the disk"
        say(f"the outputs of the frozen part of the trunk {need}: they are computed in every step instead")
        return plan
    source = _source(plan, frozen)
    features = FrozenFeatures.load(plan.run.folder, source)
    if features is None:
        say(f"computing the frozen part of the trunk once for all training pictures, {size / 2**20:.0f} MiB")
        ids = [record.id for record in records.read(plan.data, "train")]
        features = FrozenFeatures.compute(plan.run.folder, ids, shape, source, _outputs(plan, frozen))
    return replace(plan, features=features)


def _outputs(plan: Plan, frozen: keras.Model) -> Iterator[np.ndarray]:
    """Return the outputs for batches of training pictures, in the order of the shards: (pictures, views, …)."""
    config = plan.run.config
    frozen.compile(jit_compile=devices.use_xla(frozen))
    batches = ordered_batches(plan.data, "train", len(plan.run.tags), config.image_size, config.resize, BATCH_SIZE)
    with progress(total=plan.run.train_images, unit="images", description="frozen part", leave=False) as bar:
        for batch in batches:
            pixels = batch.pixels  # (pictures, side, side, 3)
            padded = np.pad(pixels, ((0, BATCH_SIZE - len(pixels)), (0, 0), (0, 0), (0, 0)))  # so that it compiles once
            views = [padded, padded[:, :, ::-1]][: 1 + config.flip]
            outputs = [keras.ops.convert_to_numpy(frozen.predict_on_batch(view))[: len(pixels)] for view in views]
            yield np.stack(outputs, axis=1)
            bar.update(len(pixels))


def _source(plan: Plan, frozen: keras.Model) -> str:
    """Return a text that identifies the frozen part and the pictures, and changes with them."""
    config, digest = plan.run.config, hashlib.sha256()
    for values in frozen.get_weights():
        digest.update(values.tobytes())
    shards = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in records.shard_paths(plan.data, "train")]
    settings = (config.image_size, config.resize, config.flip, config.precision)
    return repr((settings, frozen.output.name, digest.hexdigest(), str(plan.data.resolve()), shards))
