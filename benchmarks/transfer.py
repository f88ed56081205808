"""A trunk trained on one board used for another, frozen and unfrozen, beside training from scratch in the same time.

    python -m benchmarks transfer --data data/openmoji data/openclipart --seeds 3

It goes in both directions. The other ways get as many epochs as take about as long as training from scratch, by the seconds
of two short runs measured first. Result: transfer-FOLDER.json for each of the two folders.
"""

import argparse
import re
from pathlib import Path

from benchmarks import trials
from benchmarks.ablation import DEFAULT
from benchmarks.reporting import Table, as_json, report
from benchmarks.trials import Trial
from common.errors import InputError
from model.run_folder import read_history

COLUMNS = {name: trials.COLUMNS[name] for name in ("average_precision_macro", "auc_roc_macro", "auc_roc_micro")}
COLUMNS |= {"seconds": "seconds"}
PROBE_EPOCHS = 2  # the second one is timed: the first includes compilation
FROZEN, UNFROZEN, AT_ONCE = "frozen", "frozen, then unfrozen", "trained at once"
RENAMED = {"frozen, then thawed": UNFROZEN}  # in a stored result ▶ the name today


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the two data folders, epochs and seeds."""
    parser.add_argument("--data", type=Path, nargs=2, required=True, help="two folders made by download.py")
    parser.add_argument(
        "--epochs", type=int, default=4, help="from scratch; the other ways get as many as take as long (default: 4)"
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of each way, with seeds 0, 1, … (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")


def measure(options: argparse.Namespace) -> None:
    """Train each way in both directions and evaluate it; finished runs under runs/bench/ are reused."""
    seeds = range(options.seeds)
    # Named as in `ablation`, so that both share these runs.
    scratch = {(data, seed): Trial(data, DEFAULT, (), options.epochs, seed) for data in options.data for seed in seeds}
    results = _train(list(scratch.values()), options.jobs)
    other_folder = dict((options.data, options.data[::-1]))
    ratios = {
        data: _frozen_epochs_in_one(data, scratch[other, 0].folder, options.jobs) for data, other in other_folder.items()
    }
    trunk_trials = []
    for data, other in other_folder.items():
        for way, (training_options, epochs) in ways(options.epochs, ratios[data]).items():
            name = f"{way}, trunk of {other.resolve().name}"
            bases = {seed: str(scratch[other, seed].folder) for seed in seeds}
            trunk_trials += [
                Trial(data, name, ("--init", base, *training_options), epochs, seed) for seed, base in bases.items()
            ]
    results |= _train(trunk_trials, options.jobs)
    for data, ratio in ratios.items():
        own = {trial: figures for trial, figures in results.items() if trial.data == data}
        print(f"{data}, test split, {options.seeds} seeds; an epoch with a frozen trunk takes {1 / ratio:.2f} of the time")
        figures = {"options": as_json(options), "epochs_in_one": ratio}
        figures["runs"] = {str(trial.folder): trials.to_store(result) for trial, result in own.items()}
        report(f"transfer-{data.name}", table(figures), figures)


def ways(epochs: int, ratio: float) -> dict[str, tuple[tuple[str, ...], int]]:
    """Return the ways to use a trunk: options of train.py, and epochs that take about as long as `epochs` from scratch.

    Args:
        epochs: epochs from scratch.
        ratio: epochs with a frozen trunk that take as long as one from scratch.
    """
    in_one = max(1, round(ratio))
    return {
        FROZEN: (("--freeze",), max(1, round(epochs * ratio))),
        UNFROZEN: (("--unfreeze-after", str(in_one)), in_one + max(1, epochs - 1)),
        AT_ONCE: ((), epochs),
    }


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each way; its name is in the names of the run folders."""
    rows: dict[str, list[dict | str]] = {}
    for folder, result in figures["runs"].items():
        name = re.sub(r"-\d+-\d+$", "", Path(folder).name)  # without epochs and seed
        way, trunk, base = name.replace("-", " ").partition(", trunk of ")
        way = re.sub(rf".*?({FROZEN}.*|{AT_ONCE})$", r"\1", way) if trunk else "from scratch"
        rows.setdefault(f"trunk of {base}, {RENAMED.get(way, way)}" if trunk else way, []).append(result)
    return trials.table(rows, COLUMNS)


def _train(runs: list[Trial], jobs: int) -> dict[Trial, dict]:
    results = {}
    for trial, figures in trials.run_all(runs, jobs).items():
        if isinstance(figures, str):
            raise InputError(figures)
        results[trial] = figures
    return results


def _frozen_epochs_in_one(data: Path, base: Path, jobs: int) -> float:
    """Return how many epochs with the frozen trunk of `base` take as long as one from scratch; both are timed now."""
    probes = [
        Trial(data, name, options, PROBE_EPOCHS, 0)
        for name, options in {
            "probe": (),
            f"probe with the trunk of {base.name}": ("--init", str(base), "--freeze"),
        }.items()
    ]
    _train(probes, jobs)
    scratch, frozen = (float(read_history(probe.folder)[-1]["seconds"]) for probe in probes)
    return scratch / frozen
