"""Train a tagger on a data folder that download.py made: shards ▶ a run folder."""

import argparse
from dataclasses import fields
from pathlib import Path

from command import Parser, run
from common.errors import InputError, say
from common.files import only_writer
from common.processes import import_quietly, use_cpu
from dataset.cache import CACHE_CHOICES
from model.config import Config
from model.presets import PRESETS
from training.recipes import RECIPES, resolve

AUTO = "auto"


def main() -> None:
    """Read the options, say what will be done, and do it."""
    options = parser().parse_args()
    names = (entry.name for entry in fields(Config))
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    if not options.checkpoint_minutes > 0 or options.devices < 1:
        raise InputError("--checkpoint-minutes has to be over 0, and --devices 1 or more")
    if options.cpu:
        use_cpu()
    import_quietly("keras")
    import_quietly("tensorflow")  # reads the shards, whatever the backend
    from model import devices, run_folder
    from training import checkpoints, distillation, lr_finder, plan, run_table, train_run, transfer

    if options.list:
        print(run_table.table(Path("runs")))
        return
    devices.check(options.cpu)
    devices.leave_gpus_to_backend()
    if options.teach or options.negatives or options.values:
        print(teach_tag(options, given))
        return
    devices.distribute(options.devices)
    data, folder, before = choose_folders(options)
    if options.resume:
        given = before.config.as_dict() | given
    elif options.init:
        given = transfer.inherited_settings(given)
    given["precision"] = devices.precision(given.get("precision", AUTO))
    devices.use_precision(given["precision"])
    if given.get("batch_size") == AUTO:
        given |= train_run.choose_batch(given, before, data, folder, options.devices)
    todo = plan.plan_run(data, folder, resolve(given), options.devices)
    if (folder / "model.keras").exists() and not options.find_lr:
        run_folder.check_network(folder / "model.keras")
        train_run.remove_leftovers(folder)  # a kill in its last moment may have left them
        say(f"{folder} is trained already, with these options; for another run, give another --run")
        return
    todo = distillation.with_teacher(todo)
    network = train_run.build_network(todo.run)
    train_run.compile_network(todo, network)
    if options.find_lr:
        transfer.load_trunk(todo.run, network)
        rates, losses = lr_finder.range_test(todo, network)
        print(f"{lr_finder.save(folder, rates, losses)}: proposed --learning-rate {lr_finder.proposal(rates, losses):g}")
        return
    with only_writer(folder):
        start = checkpoints.restore(folder, network)
        if start == checkpoints.TrainingPosition():
            transfer.load_trunk(todo.run, network)
        say(plan.describe(todo, network, start))
        todo.run.save()
        train_run.train(todo.with_cache(options.cache), network, start, options.checkpoint_minutes)
    print(f"{folder} is trained. Next: python eval.py {folder}")


def teach_tag(options: argparse.Namespace, given: dict) -> str:
    """Add an output to a run; what is expected of it."""
    from model import run_folder
    from training.teach_tag import teach

    if not options.teach or given or options.data or options.resume or (options.negatives and options.values):
        others = "--run, --cpu, and either --negatives or --values"
        raise InputError(f"--teach NAME FOLDER trains nothing but that one output: of other options, it goes with {others}")
    name, pictures = options.teach
    folder = options.run or run_folder.newest(Path("runs"), "model.keras", "train.py")
    return teach(name, Path(pictures), folder, options.negatives, options.values)


def choose_folders(options: argparse.Namespace):
    """The data folder, the run folder, and the run that is there already, or None."""
    from model import run_folder

    folder = options.run
    if options.resume:
        folder = folder or run_folder.newest(Path("runs"), "config.json", "train.py")
        before = run_folder.load(folder)
        return options.data or Path(before.data), folder, before
    data = options.data or run_folder.newest(Path("data"), "manifest.json", "download.py")
    folder = folder or Path("runs") / data.resolve().name
    return data, folder, run_folder.load(folder) if (folder / "config.json").exists() else None


def parser() -> Parser:
    """The two folders, and an option for each field of `Config`; a value that is not given is left out."""
    options = Parser(__doc__)
    options.add_argument("--data", type=Path, help="folder made by download.py (default: the newest under data/)")
    options.add_argument("--run", type=Path, help="folder to make (default: runs/ and the data folder's name)")
    options.add_argument("--resume", action="store_true", help="go on with --run, or the newest, with the options it has")
    options.add_argument("--checkpoint-minutes", type=float, default=10.0, help="between two checkpoints (default: 10)")
    options.add_argument("--cache", choices=CACHE_CHOICES, default="none", help="keep the pictures decoded, where they fit")
    options.add_argument("--devices", type=int, default=1, help="that share each batch, with KERAS_BACKEND=jax (default: 1)")
    options.add_argument("--cpu", action="store_true", help="compute on the CPU, even where there is a GPU")
    options.add_argument("--find-lr", action="store_true", help="try learning rates, save a plot, and propose a maximum")
    teaching = {"nargs": 2, "metavar": ("NAME", "FOLDER")}
    options.add_argument("--teach", help="add a tag to --run, from a folder of pictures that have it", **teaching)
    options.add_argument("--negatives", type=Path, help="of --teach: pictures that lack it (default: training pictures)")
    options.add_argument("--values", type=Path, help="of --teach: a CSV with the columns id and NAME, a number to predict")
    options.add_argument("--list", action="store_true", help="show the runs under runs/, and stop")
    for entry in fields(Config):
        help_text = (
            f"{entry.metadata['help']} (default: {entry.default if entry.default != '' else 'none'}{_overrides(entry.name)})"
        )
        if entry.metadata["hidden"]:
            help_text = argparse.SUPPRESS
        choices = entry.metadata["choices"]
        kind = {"type": entry.type, "metavar": f"{{{','.join(choices)}}}" if choices else None}
        if entry.name == "batch_size":
            kind["type"] = number_or_auto
        if entry.type is bool:
            kind = {"action": argparse.BooleanOptionalAction}
        options.add_argument(f"--{entry.name.replace('_', '-')}", help=help_text, **kind)
    return options


def number_or_auto(text: str) -> int | str:
    """A number, or the word that leaves it to the program."""
    try:
        return AUTO if text == AUTO else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number or {AUTO}, received {text!r}") from None


def _overrides(name: str) -> str:
    """What presets and recipes set instead of the default."""
    values = [f"{key} {values[name]}" for key, values in (PRESETS | RECIPES).items() if name in values]
    return f"; {', '.join(values)}" if values else ""


if __name__ == "__main__":
    run(main, when_interrupted="The same command goes on, from the last checkpoint if there is one.")
