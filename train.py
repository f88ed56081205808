"""Train a tagger on a data folder that download.py made: shards ▶ a run folder."""

import argparse
from dataclasses import fields, replace
from pathlib import Path

from command import Parser, import_quietly, run, say, use_cpu
from model.config import PRESETS, RECIPES, Config, resolve

# Options that are no part of a run's configuration: they change where and how it is computed, not what comes out.
HOW = ("data", "run", "resume", "checkpoint_minutes", "cpu")


def main() -> None:
    """Read the options, say what will be done, and do it."""
    given = {name: value for name, value in vars(parser().parse_args()).items() if value is not None}
    how = {name: given.pop(name) for name in HOW if name in given}
    if how["cpu"]:
        use_cpu()
    import_quietly("keras")
    from model import checkpoints, devices, plan, runs, training

    devices.check(how["cpu"])
    folder = how.get("run") or (runs.newest(Path("runs"), "config.json", "train.py") if how["resume"] else None)
    before = runs.load(folder) if how["resume"] else None
    data = how.get("data") or (Path(before.data) if before else runs.newest(Path("data"), "manifest.json", "download.py"))
    folder = folder or Path("runs") / data.resolve().name
    config = resolve((before.config.as_dict() if before else {}) | given)
    config = replace(config, precision=devices.precision(config.precision))
    todo = plan.plan_run(data, folder, config)
    if (folder / "model.keras").exists():
        say(f"{folder} is trained already, with these options; for another run, give another --run")
        return
    devices.use_precision(config.precision)
    network = training.build_network(todo.run)
    training.compile_network(todo, network)
    start = checkpoints.restore(folder, network)
    say(plan.describe(todo, network, start))
    todo.run.save()
    training.train(todo, network, start, how["checkpoint_minutes"])
    print(f"{folder} is trained. Next: python eval.py {folder}")


def parser() -> Parser:
    """The two folders, and an option for each field of `Config`; a value that is not given is left out."""
    options = Parser(__doc__)
    options.add_argument("--data", type=Path, help="folder made by download.py (default: the newest under data/)")
    options.add_argument("--run", type=Path, help="folder to make (default: runs/ and the data folder's name)")
    options.add_argument("--resume", action="store_true", help="go on with --run, or the newest, with the options it has")
    options.add_argument("--checkpoint-minutes", type=float, default=10.0, help="between two checkpoints (default: 10)")
    options.add_argument("--cpu", action="store_true", help="compute on the CPU, even where there is a GPU")
    for entry in fields(Config):
        help_text = f"{entry.metadata['help']} (default: {entry.default}{_overrides(entry.name)})"
        choices = entry.metadata["choices"]
        kind = {"type": entry.type, "metavar": f"{{{','.join(choices)}}}" if choices else None}
        if entry.type is bool:
            kind = {"action": argparse.BooleanOptionalAction}
        options.add_argument(f"--{entry.name.replace('_', '-')}", help=help_text, **kind)
    return options


def _overrides(name: str) -> str:
    """What presets and recipes set instead of the default."""
    values = [f"{key} {values[name]}" for key, values in (PRESETS | RECIPES).items() if name in values]
    return f"; {', '.join(values)}" if values else ""


if __name__ == "__main__":
    run(main, when_interrupted="The same command goes on, and so does train.py --resume, from the last checkpoint.")
