"""Train a tagger on a data folder made by download.py, and write a run folder."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from command import Parser, run
from common.errors import InputError, command, say
from common.processes import import_quietly, use_cpu
from dataset.cache import CACHE_CHOICES
from model.config import AUTO, Config
from model.presets import PRESETS
from training.recipes import RECIPES


def main() -> None:
    """Do what the options ask for."""
    options = parser().parse_args()
    if not options.checkpoint_minutes > 0 or options.devices < 1:
        raise InputError("--checkpoint-minutes has to be greater than 0, and --devices at least 1")
    if options.cpu:
        use_cpu()
    import_quietly("tensorflow")  # reads the shards, whatever the backend
    if options.processes:
        join_processes(options)
    elif options.process_count is not None or options.process_index is not None:
        raise InputError("--process-count and --process-index go with --processes")
    import_quietly("keras")
    from model import devices, process_group
    from training import run_table

    if options.list:
        if given_beside(options, {"list"}):
            raise InputError("--list goes with no other option")
        print(run_table.table(Path("runs")))
        return
    devices.check(options.cpu)
    devices.leave_gpus_to_backend()
    if options.teach or options.negatives or options.values or options.out:
        print(teach_tag(options))
        return
    devices.distribute(options.devices)
    with process_group.group.together():
        train(options)


def train(options: argparse.Namespace) -> None:
    """Train a run, or continue it; with `--find-lr`, only try learning rates for it."""
    from dataset import images
    from inference.export.run_copy import write_run_copy
    from model import process_group
    from training import lr_finder, train_run, transfer

    group = process_group.group
    names = (entry.name for entry in fields(Config) if entry.metadata["is_option"])
    settings = {name: value for name in names if (value := getattr(options, name)) is not None}
    data, folder, existing = choose_folders(options)
    if options.resume:
        settings = existing.config.as_dict() | settings
    elif options.init:
        settings = transfer.inherited_settings(settings)
    plan = train_run.make_plan(settings, existing, data, folder, options.devices * group.count)
    if difference := images.version_difference(plan.run.decode_version, str(data)):
        say(difference)
    if options.find_lr:
        print(lr_finder.find_learning_rate(plan))
    elif process_group.broadcast(np.array((folder / "model.keras").exists())):
        if group.index:  # the first process does the rest
            return
        train_run.check_finished(folder)
        if options.onnx and not (folder / "model.onnx").exists():
            write_run_copy(folder)
        say(f"{folder} is trained already, with these options; for another run, give another --run")
    else:
        train_run.run(plan, options.cache, options.checkpoint_minutes)
        if group.index:
            return
        if options.onnx:
            write_run_copy(folder)
        print(f"{folder} is trained. Next: {command('python', 'eval.py', folder)}")


def given_beside(options: argparse.Namespace, names: set[str]) -> bool:
    """Return whether options other than some have another value than their default."""
    defaults = vars(parser().parse_args([]))
    return any(value != defaults[name] for name, value in vars(options).items() if name not in names)


def join_processes(options: argparse.Namespace) -> None:
    """Join the other processes that train the same run."""
    from model import process_group

    alone = [name for name in ("find_lr", "list", "teach", "teacher") if getattr(options, name)]
    if options.batch_size == AUTO:
        alone.append("batch_size auto")
    if alone:
        raise InputError(f"--{alone[0].replace('_', '-')} does not go with --processes: it is done by one process")
    process_group.join(options.processes, options.process_count, options.process_index, options.devices)
    if process_group.group.index:
        say(f"process {process_group.group.index} of {process_group.group.count}; process 0 shows the progress")


def teach_tag(options: argparse.Namespace) -> str:
    """Add an output to a run, or write it into a file, and return its expected figures in words."""
    from model import run_folder
    from training.teach_tag import teach

    allowed = {"teach", "run", "out", "cpu", "negatives", "values"}
    if not options.teach or given_beside(options, allowed) or (options.negatives and options.values):
        others = "--run, --out, --cpu, and either --negatives or --values"
        raise InputError(f"--teach NAME FOLDER trains nothing but one output; the only options that go with it are {others}")
    name, pictures = options.teach
    folder = options.run or run_folder.newest(Path("runs"), "model.keras", "train.py")
    return teach(name, Path(pictures), folder, options.negatives, options.values, options.out)


def choose_folders(options: argparse.Namespace):
    """Return the data folder, the run folder, and the run that is in it already (or None)."""
    from model import run_folder

    folder = options.run
    if options.resume:
        folder = folder or run_folder.newest(Path("runs"), "config.json", "train.py")
        existing = run_folder.load(folder)
        return options.data or Path(existing.data), folder, existing
    data = options.data or run_folder.newest(Path("data"), "manifest.json", "download.py")
    folder = folder or Path("runs") / data.resolve().name
    return data, folder, run_folder.load(folder) if (folder / "config.json").exists() else None


def parser() -> Parser:
    """Return the argument parser, with an option for each field of `Config`; without the option, its value is None."""
    options = Parser(__doc__)
    options.add_argument("--data", type=Path, help="folder made by download.py (default: the newest under data/)")
    options.add_argument("--run", type=Path, help="run folder (default: runs/ and the name of the data folder)")
    options.add_argument("--resume", action="store_true", help="continue --run, or the newest run, with its own options")
    options.add_argument("--checkpoint-minutes", type=float, default=10.0, help="time between checkpoints (default: 10)")
    options.add_argument("--cache", choices=CACHE_CHOICES, default="none", help="keep pictures decoded (default: none)")
    options.add_argument("--devices", type=int, default=1, help="devices per batch, with KERAS_BACKEND=jax (default: 1)")
    options.add_argument(
        "--processes",
        metavar="HOST:PORT",
        help="train with several processes, the first of which listens there; auto: as Slurm or Open MPI say",
    )
    options.add_argument("--process-count", type=int, help="with --processes: number of processes")
    options.add_argument("--process-index", type=int, help="with --processes: number of this process, from 0")
    options.add_argument("--cpu", action="store_true", help="compute on the CPU, even if there is a GPU")
    options.add_argument("--find-lr", action="store_true", help="try learning rates, save a plot, and propose a maximum")
    teaching: dict[str, Any] = {"nargs": 2, "metavar": ("NAME", "FOLDER")}
    options.add_argument("--teach", help="add a tag to --run, from a folder of pictures that have it", **teaching)
    options.add_argument("--negatives", type=Path, help="with --teach: pictures without it (default: training pictures)")
    options.add_argument("--values", type=Path, help="with --teach: a CSV with the columns id and NAME, a number to predict")
    options.add_argument("--out", type=Path, help="with --teach: write the tag into this file, and leave --run as it is")
    options.add_argument(
        "--onnx",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write model.onnx as well, with which test.py and serve.py start faster (default: yes)",
    )
    options.add_argument("--list", action="store_true", help="list the runs under runs/, and stop")
    for entry in (entry for entry in fields(Config) if entry.metadata["is_option"]):
        help_text = (
            f"{entry.metadata['help']} (default: {entry.default if entry.default != '' else 'none'}{_overrides(entry.name)})"
        )
        choices = entry.metadata["choices"]
        kind: dict[str, Any] = {"type": entry.type, "metavar": f"{{{','.join(choices)}}}" if choices else None}
        if entry.name == "batch_size":
            kind["type"] = number_or_auto
        if entry.type is bool:
            kind = {"action": argparse.BooleanOptionalAction}
        options.add_argument(f"--{entry.name.replace('_', '-')}", help=help_text, **kind)
    return options


def number_or_auto(text: str) -> int | str:
    """Read a whole number or `auto`."""
    try:
        return AUTO if text == AUTO else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number or {AUTO}, received {text!r}") from None


def _overrides(name: str) -> str:
    """Return the values that presets and recipes set instead of the default, in words."""
    values = [f"{key} {values[name]}" for key, values in (PRESETS | RECIPES).items() if name in values]
    return f"; {', '.join(values)}" if values else ""


if __name__ == "__main__":
    run(main, when_interrupted="The same command continues, from the last checkpoint if there is one.")
