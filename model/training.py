"""Training a run: the network, its optimizer and cycle, from where it is to its last epoch."""

import contextlib
import signal
from pathlib import Path

import keras

from command import InputError, say
from dataset import pipeline
from model import averaging, checkpoints, devices, memory, reuse, runs, schedule
from model.calibration import Calibration, Target, fit, nothing_known
from model.callbacks import Callbacks, Keep, Validation, Watch
from model.checkpoints import Position
from model.config import resolve
from model.optimizers import build_optimizer
from model.plan import Plan, plan_run
from model.runs import Run
from model.scoring import score
from model.tagger import TaggerNetwork
from model.tensorboard import TensorBoard


def build_network(run: Run) -> TaggerNetwork:
    """A network with fresh weights, drawn from the run's seed."""
    keras.utils.set_random_seed(run.config.seed)
    network = TaggerNetwork(len(run.tags), run.config.as_dict())
    network.start_at(run.frequencies)
    return network


def choose_batch(given: dict, before: Run | None, data: Path, folder: Path, num_devices: int) -> dict:
    """The settings `batch_size`, the largest that fits, and `effective_batch`, which it divides.

    Args:
        given: settings as for `config.resolve`; without `effective_batch`, it is the recipe's batch.
        before: the run as it was begun, whose batch is kept if it had the same effective one.
    """
    given = {name: value for name, value in given.items() if name != "batch_size"}
    effective = given.pop("effective_batch", 0) or resolve(given).batch_size
    if effective < 1:
        raise InputError(f"--effective-batch has to be greater than 0. Received: {effective}")
    if before and before.config.effective_batch == effective:
        return {"batch_size": before.config.batch_size, "effective_batch": effective}

    def build(batch_size: int) -> TaggerNetwork:
        sizes = {"batch_size": batch_size, "effective_batch": effective}
        plan = plan_run(data, folder, resolve(given | sizes), num_devices)
        network = build_network(plan.run)
        compile_network(plan, network)
        return network

    return {"batch_size": memory.largest_batch(effective, num_devices, build), "effective_batch": effective}


def compile_network(plan: Plan, network: TaggerNetwork) -> None:
    """Give a network the optimizer of its run, with learning rate and momentum on their cycles."""
    config = plan.run.config
    optimizer = build_optimizer(config, *schedule.cycles(config, plan.total_updates), plan.steps_per_update)
    network.compile(optimizer=optimizer, jit_compile=not devices.own_kernels())  # in float16, Keras scales the loss
    network.optimizer.build(network.trainable_variables)  # made inside the step, they have TensorFlow trace it twice


def train(plan: Plan, network: TaggerNetwork, start: Position, checkpoint_minutes: float) -> None:
    """Train from `start` to the last epoch, and write `model.keras`.

    Args:
        plan: what to do.
        network: compiled; fresh, or as `checkpoints.restore` left it.
        start: what `checkpoints.restore` said.
        checkpoint_minutes: between two checkpoints.

    Raises:
        InputError: the loss stopped being finite.
        KeyboardInterrupt: the user stopped it; it is kept where it is.
    """
    watch = Watch(plan, start)
    validation = Validation(plan, watch)
    keep = Keep(plan, network, watch, start, checkpoint_minutes)
    callbacks = [watch, validation, keep, TensorBoard(plan, watch, validation)]
    with _asked_to_stop(keep), contextlib.closing(watch.bar):
        if start.step:  # what is left of a broken epoch
            _fit(plan, network, start, start.epoch + 1, callbacks)
            start = Position(start.epoch + 1)
        for end_epoch in (plan.run.config.frozen_epochs, plan.run.config.epochs):
            if start.epoch < end_epoch:
                _fit(plan, network, start, end_epoch, callbacks)
                start = Position(end_epoch)
    finish(plan, network)


def _fit(plan: Plan, network: TaggerNetwork, start: Position, end_epoch: int, callbacks: list) -> None:
    """Train from `start` until `end_epoch` epochs are complete, with the trunk frozen or not as the first of them says."""
    watch = callbacks[0]
    reuse.begin_phase(plan.run.config, network, start.epoch)
    with pipeline.damage_named(plan.data, "train"):
        network.fit(
            plan.batches(start.epoch, start.step, end_epoch, watch.batch_is_ready),
            initial_epoch=start.epoch,
            epochs=end_epoch,
            steps_per_epoch=plan.steps_per_epoch - start.step,
            shuffle=False,
            verbose=0,
            callbacks=Callbacks(callbacks, add_history=True, model=network),
        )


@contextlib.contextmanager
def _asked_to_stop(keep: Keep):
    """Let Ctrl-C and a shutdown end the run between two steps."""
    before = {number: signal.signal(number, keep.ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def finish(plan: Plan, network: TaggerNetwork) -> None:
    """Write what prediction needs, and remove what only an unfinished run does."""
    run = plan.run
    use_average = averaging.has_average(network) and _average_is_better(run, plan.val_images)
    with averaging.averaged(plan, network) if use_average else contextlib.nullcontext():
        runs.save_calibration(run, _calibration(plan, network))
        # A copy without the optimizer: half the size, and nothing in it but the network.
        finished = TaggerNetwork.from_config(network.get_config())
        finished.set_weights(network.get_weights())
    runs.save_network(finished, run.folder / "model.keras")
    checkpoints.remove(run.folder)


def _average_is_better(run: Run, val_images: int) -> bool:
    """By mAP on the validation split after the last epoch; yes where there is no such split."""
    if not val_images:
        say("model.keras gets the average of the weights: there is no validation split to compare it on")
        return True
    last = runs.read_history(run.folder)[-1]
    raw, average = (float(last.get(f"{name}_average_precision_macro", 0)) for name in ("val", "averaged_val"))
    chosen = "the average of the weights" if average >= raw else "the last weights"
    say(f"model.keras gets {chosen}: validation mAP {average:.4g} averaged, {raw:.4g} last")
    return average >= raw


def _calibration(plan: Plan, network: TaggerNetwork) -> Calibration:
    """Temperature and thresholds from the validation split, where there is one."""
    target = Target("f1")
    if not plan.val_images:
        return nothing_known(len(plan.run.tags), target)
    scores = score(network, plan.data, "val", plan.run.config)
    return fit(scores.labels, scores.probability, scores.groups, target)
