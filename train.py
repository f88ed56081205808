"""Train a tagger on a data folder that download.py made: shards ▶ a run folder."""

import argparse
from dataclasses import fields
from pathlib import Path

from command import Parser, import_quietly, run, say
from model.config import PRESETS, RECIPES, Config, resolve


def main() -> None:
    """Read the options, say what will be done, and do it."""
    given = {name: value for name, value in vars(parser().parse_args()).items() if value is not None}
    data, folder = given.pop("data", None), given.pop("run", None)
    config = resolve(given)

    import_quietly("keras")
    from model import plan, runs, training

    data = data or runs.newest(Path("data"), "manifest.json", "download.py")
    folder = folder or Path("runs") / data.resolve().name
    todo = plan.plan_run(data, folder, config)
    if (folder / "model.keras").exists():
        say(f"{folder} is trained already, with these options; for another run, give another --run")
        return
    network = training.resume(folder) or training.build_network(todo.run)
    say(plan.describe(todo, network, training.epochs_done(todo, network)))
    todo.run.save()
    training.train(todo, network)
    print(f"{folder} is trained. Next: python eval.py {folder}")


def parser() -> Parser:
    """The two folders, and an option for each field of `Config`; a value that is not given is left out."""
    options = Parser(__doc__)
    options.add_argument("--data", type=Path, help="folder made by download.py (default: the newest under data/)")
    options.add_argument("--run", type=Path, help="folder to make (default: runs/ and the data folder's name)")
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
    run(main, when_interrupted="Finished epochs are kept: the same command goes on after the last one.")
