"""Kill training at random steps with SIGKILL, let it go on each time, and compare with a run that was left alone.

python tests/kill_and_resume.py --data data/openmoji --kills 10
"""

import argparse
import csv
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
TIMED = {"seconds", "images_per_second", "waiting"}  # of history.csv: what may differ


def main() -> None:
    """Run it and print what was equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given, options = parser.parse_known_args()  # the rest goes to train.py
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder, "whole"), Path(folder, "killed")
        subprocess.run(command(given.data, whole, options), check=True)
        steps = train_killed(given.data, killed, options, given.kills, random.Random(given.seed))
        print(f"killed after steps {', '.join(map(str, steps))}")
        differing = differences(whole, killed)
    print("; ".join(differing) if differing else "equal: every weight, every threshold and the history, bit by bit")
    sys.exit(bool(differing))


def command(data: Path, folder: Path, options: list[str]) -> list[str]:
    """The training command; checkpoints come several times a second, so that kills fall between and into them."""
    script = [sys.executable, str(ROOT / "train.py"), "--data", str(data), "--run", str(folder), "--no-onnx"]
    return [*script, "--checkpoint-minutes", "0.002", *map(str, options)]


def train_killed(data: Path, folder: Path, options: list[str], kills: int, chance: random.Random) -> list[int]:
    """Train with so many kills on the way; the steps of the newest checkpoints when they came."""
    steps = []
    for _ in range(kills):
        process = subprocess.Popen(command(data, folder, options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun, wanted = newest_step(folder), chance.randint(1, 6)
        while newest_step(folder) < begun + wanted and process.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.random() * 0.2)
        process.kill()
        process.communicate()
        if (folder / "model.keras").exists():
            break
        steps.append(newest_step(folder))
    subprocess.run(command(data, folder, options), check=True, capture_output=True)
    return steps


def newest_step(folder: Path) -> int:
    """Of the newest checkpoint; 0 where there is none."""
    return max((int(path.stem.split("-")[1]) for path in folder.glob("checkpoint-*.npz")), default=0)


def differences(folder: Path, other: Path) -> list[str]:
    """What differs between two finished runs, in words."""
    from model import run_folder

    found = []
    networks = [run_folder.load_network(path / "model.keras") for path in (folder, other)]
    for ours, theirs in zip(*(network.weights for network in networks), strict=True):
        if not np.array_equal(ours.numpy(), theirs.numpy()):
            found.append(f"{ours.path} by {np.abs(ours.numpy() - theirs.numpy()).max():.2g}")
    rows = [list(csv.DictReader((path / "history.csv").open())) for path in (folder, other)]
    if [_untimed(row) for row in rows[0]] != [_untimed(row) for row in rows[1]]:
        found.append("history.csv")
    if len({(path / "thresholds.csv").read_bytes() for path in (folder, other)}) > 1:
        found.append("thresholds.csv")
    return found


def _untimed(row: dict) -> dict:
    return {name: value for name, value in row.items() if name not in TIMED}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
