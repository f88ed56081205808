"""Kill `test.py --sidecar append`, and then `--undo`, at random moments: every text file is as before or as after.

python tests/kill_sidecars.py PICTURES --run runs/openmoji/export/suite/model.onnx --kills 50
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
FORMS = ("mine, ö\r\n", "\ufeffmine\nö\n", "mine; ö", "['mine', 'ö']", "mine ö red_hat\n", "", None)


def main() -> None:
    """Run it and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path, help="folder of pictures")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--kills", type=int, default=50, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pictures = sorted(path for path in options.pictures.iterdir() if path.suffix in (".png", ".jpg"))
    with tempfile.TemporaryDirectory() as folder:
        found = kill(pictures, options.run, Path(folder, "in"), options.files, options.kills, random.Random(options.seed))
    print("; ".join(found))


def kill(pictures: list[Path], run: Path, folder: Path, files: int, kills: int, chance: random.Random) -> list[str]:
    """Kill both commands so many times each; return what was seen, one line for each command.

    Args:
        pictures: pictures to copy.
        run: run folder or exported network.
        folder: where the copies go, with text files in several forms and encodings.
        files: number of copies.
        kills: number of kills of each command.
        chance: source of the moments.

    Raises:
        AssertionError: a text file was neither as before nor as after, or undoing did not give back its bytes.
    """
    before = make(pictures, folder, files)
    tag = [sys.executable, ROOT / "test.py", folder, "--run", run, "--threshold", 0, "--top", 3, "--sidecar", "append"]
    undo = [sys.executable, ROOT / "test.py", "--undo", folder]
    seconds = {"--sidecar append": seconds_of_writing(tag, folder)}
    after = read(folder, before)
    assert before != after
    seconds["--undo"] = seconds_of_writing(undo, folder)
    assert read(folder, before) == before
    lines = []
    for name, command, state in (("--sidecar append", tag, after), ("--undo", undo, before)):
        partly = 0
        for _ in range(kills):
            if command is undo:
                finish(tag)
            process = start(command, folder)
            time.sleep(chance.random() * seconds[name])
            process.kill()
            process.wait()
            now = read(folder, before)
            assert all(now[path] in (before[path], after[path]) for path in before), "neither as before nor as after"
            partly += before != now != after
            finish(command)
            assert read(folder, before) == state
            while read(folder, before) != before:  # each part of a run is undone on its own
                finish(undo)
        lines.append(f"{name}: {kills} kills, {partly} with a part of the files written")
    return lines


def make(pictures: list[Path], folder: Path, files: int) -> dict[Path, bytes | None]:
    """Copy pictures, write text files beside them, and return path ▶ content."""
    folder.mkdir()
    before = {}
    for number in range(files):
        source, text = pictures[number % len(pictures)], FORMS[number % len(FORMS)]
        shutil.copy(source, folder / f"{number:04}{source.suffix}")
        before[folder / f"{number:04}.txt"] = None if text is None else text.encode("utf-16" if number % 5 == 0 else "utf-8")
    for path, content in before.items():
        if content is not None:
            path.write_bytes(content)
    return before


def read(folder: Path, before: dict[Path, bytes | None]) -> dict[Path, bytes | None]:
    """Return path ▶ content of the text files; there are no others."""
    assert {path for path in folder.glob("*.txt") if path.name[0] != "."} <= before.keys()
    return {path: path.read_bytes() if path.exists() else None for path in before}


def start(command: list, folder: Path) -> subprocess.Popen:
    """Start a command, and wait until it changes something in the folder."""
    untouched = folder.stat().st_mtime_ns
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and folder.stat().st_mtime_ns == untouched:
        time.sleep(0.0002)
    return process


def seconds_of_writing(command: list, folder: Path) -> float:
    """Run a command to its end; return the seconds from its first change."""
    process, began = start(command, folder), time.monotonic()
    assert process.wait() == 0
    return time.monotonic() - began


def finish(command: list) -> None:
    """Run a command to its end. A killed one may have done all there is to undo."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "nothing to undo" in done.stderr, done.stderr


if __name__ == "__main__":
    main()
