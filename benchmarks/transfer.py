"""A trunk taken over by other pictures and tags, frozen and thawed, beside training from scratch in the same time."""

import argparse
from pathlib import Path

from benchmarks import trials
from benchmarks.measuring import given, report
from benchmarks.trials import Trial
from command import InputError
from model.runs import read_history

SHOWN = {name: trials.SHOWN[name] for name in ("average_precision_macro", "auc_roc_macro", "auc_roc_micro")}
SHOWN |= {"seconds": "seconds"}
PROBE_EPOCHS = 2  # the second is timed, without compilation


def add_options(parser: argparse.ArgumentParser) -> None:
    """On what, how long, and how often."""
    parser.add_argument("--data", type=Path, nargs=2, required=True, help="two folders made by download.py")
    parser.add_argument(
        "--epochs", type=int, default=4, help="from scratch; others get as many as take as long (default: 4)"
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with seeds 0, 1, … (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")


def measure(options: argparse.Namespace) -> None:
    """Train each way in both directions, and evaluate; finished runs are kept under runs/bench/ and not trained again."""
    seeds = range(options.seeds)
    # As bench.py ablation calls them, whose runs from scratch are the same.
    scratch = {(data, seed): Trial(data, "default", (), options.epochs, seed) for data in options.data for seed in seeds}
    found = _trained(list(scratch.values()), options.jobs)
    other_of = dict((options.data, options.data[::-1]))
    ratios = {data: _epochs_in_one(data, scratch[other, 0].folder, options.jobs) for data, other in other_of.items()}
    runs = []
    for data, other in other_of.items():
        for title, (ways, epochs) in arms(options.epochs, ratios[data]).items():
            name = f"{title}, trunk of {other.resolve().name}"
            bases = {seed: str(scratch[other, seed].folder) for seed in seeds}
            runs += [Trial(data, name, ("--init", base, *ways), epochs, seed) for seed, base in bases.items()]
    found |= _trained(runs, options.jobs)
    for data, ratio in ratios.items():
        of_data = {trial: figures for trial, figures in found.items() if trial.data == data}
        print(
            f"{data}, test split, seeds: {options.seeds}; an epoch with the trunk frozen takes {1 / ratio:.2f} of the time"
        )
        facts = {"options": given(options), "epochs_in_one": ratio}
        facts["runs"] = {str(trial.folder): trials.shown(figures) for trial, figures in of_data.items()}
        report(f"transfer-{data.name}", ["", *SHOWN.values()], trials.cells(trials.rows_of(of_data), SHOWN), facts)


def arms(epochs: int, ratio: float) -> dict[str, tuple[tuple[str, ...], int]]:
    """Ways to use a trunk: options of train.py, and epochs that take about as long as so many from scratch.

    Args:
        epochs: from scratch.
        ratio: frozen epochs that take as long as one.
    """
    in_one = max(1, round(ratio))
    return {
        "frozen": (("--freeze",), max(1, round(epochs * ratio))),
        "frozen, then thawed": (("--unfreeze-after", str(in_one)), in_one + max(1, epochs - 1)),
        "trained at once": ((), epochs),
    }


def _trained(runs: list[Trial], jobs: int) -> dict[Trial, dict]:
    found = trials.run_all(runs, jobs)
    if failed := [figures for figures in found.values() if isinstance(figures, str)]:
        raise InputError(failed[0])
    return found


def _epochs_in_one(data: Path, base: Path, jobs: int) -> float:
    """How many epochs with the trunk of `base` frozen take as long as one from scratch, both timed here and now."""
    ways = {"probe": (), f"probe with the trunk of {base.name}": ("--init", str(base), "--freeze")}
    probes = [Trial(data, name, of_train, PROBE_EPOCHS, 0) for name, of_train in ways.items()]
    _trained(probes, jobs)
    scratch, frozen = (float(read_history(probe.folder)[-1]["seconds"]) for probe in probes)
    return scratch / frozen
