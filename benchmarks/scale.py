"""How time and memory grow with the number of pictures: download.py, training's first batch, eval.py.

    python -m benchmarks scale
    python -m benchmarks scale --files 1000 3000 --records 20000 --images 2000 --tags 500

Everything is generated: small pictures with text files of tags; a data folder that repeats some records; labels and scores
of a test set. Each measurement is a process of its own. Of eval.py, the network and the report's pages are left out. Result:
scale.json.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measuring_memory import in_own_process, peak_mb
from benchmarks.reporting import Table, report
from common.progress import progress

VOCABULARY, TAGS_A_PICTURE = 1000, 20
PICTURES_A_FOLDER = 1000
NEAR_DUPLICATE_EVERY = 50  # such a picture is the one before it in another size
SHARE_CHOSEN = 0.58  # of the pictures
RECORDS_A_SHARD, BATCH_SIZE, BATCHES_READ = 1000, 64, 100
LATE = 0.9  # share of the epoch


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sizes, and where the inputs are made."""
    sizes = [10_000, 30_000, 100_000]
    parser.add_argument("--files", type=int, nargs="+", default=sizes, help="pictures of the folder (default: %(default)s)")
    sizes = [100_000, 1_000_000]
    parser.add_argument("--records", type=int, nargs="+", default=sizes, help="records to train on (default: %(default)s)")
    parser.add_argument("--images", type=int, default=50_000, help="images of the test set (default: %(default)s)")
    parser.add_argument("--tags", type=int, default=10_000, help="tags of the test set (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="make the inputs in this folder, and leave them there")


def measure(options: argparse.Namespace) -> None:
    """Make the inputs, and measure each command at each size."""
    with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
        folder = options.folder or Path(temporary)
        rows = [_measure_download(folder, files) for files in sorted(options.files)]
        rows += [row for records in sorted(options.records) for row in _measure_first_batch(folder, records)]
        size = folder, options.images, options.tags
        rows += [
            {"task": f"{name}, {options.tags:,} tags", "number": options.images} | in_own_process(task, *size)
            for name, task in {"figures of eval.py": _evaluate, "thresholds": _calibrate}.items()
        ]
    figures = {"rows": rows}
    report("scale", table(figures), figures)


def table(figures: dict) -> Table:
    """Return time and memory of each task, and what each picture adds to the memory of the same task's smaller size."""
    rows: list[list[str]] = []
    smaller: dict[str, dict] = {}
    for row in figures["rows"]:
        cells = (f"{row['number']:,}", f"{row['seconds']:.1f}", f"{row['cpu_seconds']:.1f}", f"{row['peak_mb']:,.0f}")
        more = ""
        if before := smaller.get(row["task"]):
            more = f"{1000 * (row['peak_mb'] - before['peak_mb']) / (row['number'] - before['number']):.2f}"
        smaller[row["task"]] = row
        rows.append([row["task"], *cells, more])
    return Table(["", "pictures", "seconds", "processor seconds", "peak MB", "KB for each more"], rows)


def _measure_download(folder: Path, files: int) -> dict:
    """Write so many pictures, and make a data folder from them."""
    pictures, out = folder / f"pictures-{files}", folder / f"data-{files}"
    shutil.rmtree(out, ignore_errors=True)  # of an earlier call
    for first in progress(range(0, files, PICTURES_A_FOLDER), unit="thousand", description="writing pictures", leave=False):
        _write_pictures(pictures / f"{first // PICTURES_A_FOLDER:04}", first, min(first + PICTURES_A_FOLDER, files))
    options = ["--board", "folder", "--images", str(pictures), "--out", str(out)]
    options += ["--tags", str(VOCABULARY), "--posts", str(round(SHARE_CHOSEN * files))]
    return {"task": "download.py", "number": files} | in_own_process(_download, options)


def _download(options: list[str]) -> dict:
    """Run download.py in this process."""
    import download

    sys.argv = ["download.py", *options]
    download.main()
    return {"peak_mb": peak_mb()}


def _write_pictures(folder: Path, first: int, end: int) -> None:
    """Write the pictures of these numbers, each with a text file of tags, where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(first)
    frequencies = 1 / (np.arange(VOCABULARY) + 10)
    frequencies /= frequencies.sum()
    colours = np.zeros((4, 4, 3), np.uint8)
    for number in range(first, end):
        if number == first or number % NEAR_DUPLICATE_EVERY:
            colours = random.integers(0, 256, colours.shape, np.uint8)
        side = int(random.integers(48, 96))
        tags = np.unique(random.choice(VOCABULARY, TAGS_A_PICTURE, p=frequencies))
        path = folder / f"{number:07}.jpg"
        if not path.exists():
            path.with_suffix(".txt").write_text(", ".join(f"tag {tag}" for tag in tags), encoding="utf-8")
            Image.fromarray(colours).resize((side, side), Image.Resampling.BICUBIC).save(path)


def _measure_first_batch(folder: Path, number: int) -> list[dict]:
    """Measure the time until training has its first batch, at the start of an epoch and late in it."""
    data = folder / f"records-{number}"
    _write_records(folder, data, number)
    steps = number // BATCH_SIZE - BATCHES_READ
    tasks = {"first batch of an epoch": 0, f"first batch at {LATE:.0%} of an epoch": int(LATE * steps)}
    return [{"task": name, "number": number} | in_own_process(_first_batch, data, step) for name, step in tasks.items()]


def _write_records(folder: Path, data: Path, number: int) -> None:
    """Write shards that repeat the same records, those of generated pictures."""
    from dataset import records

    if data.exists():
        return
    _write_pictures(folder / "repeated", 0, RECORDS_A_SHARD)
    data.mkdir()
    shards = number // RECORDS_A_SHARD
    paths = [data / f"train-{shard:05}-of-{shards:05}.tfrecord" for shard in range(shards)]
    with records.writer(paths[0]) as write:
        for position, picture in enumerate(sorted((folder / "repeated").glob("*.jpg"))):
            labels = {(position + tag * tag) % VOCABULARY: 1.0 for tag in range(TAGS_A_PICTURE)}
            write(records.Record(picture.stem, picture.stem, "", picture.read_bytes(), labels))
    for path in paths[1:]:
        shutil.copyfile(paths[0], path)


def _first_batch(data: Path, step: int) -> dict:
    """Read batches from a step on, and return the time that the first one took; importing TensorFlow is not counted."""
    from dataset.augmentation import Augmentation
    from dataset.pipeline import TrainingData, training_batches

    end = step + BATCHES_READ
    training = TrainingData(data, VOCABULARY, 64, "pad", BATCH_SIZE, Augmentation(), steps_per_epoch=end)
    started, started_cpu = time.perf_counter(), time.process_time()
    figures: dict[str, float] = {}
    for _ in training_batches(training, 0, 1, step):  # to the end: the threads of an unfinished one block the process's end
        now = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - started_cpu}
        figures = figures or now
    return figures | {"peak_mb": peak_mb()}


def _evaluate(folder: Path, images: int, tags: int) -> dict:
    """Compute all that eval.py prints and shows, from generated scores."""
    from common.mapped_arrays import read_rows
    from evaluation.evaluate import frequency_figures
    from evaluation.metrics import all_metrics, bootstrap, tag_vectors
    from evaluation.report import contact_sheet, findings, tag_table

    scores, frequencies = _generated_scores(folder, images, tags)
    thresholds = np.full(tags, 0.3)
    started, started_cpu = time.perf_counter(), time.process_time()
    rows = (read_rows(slice(row, row + 1), scores.labels)[0][0] for row in range(images))
    vectors = tag_vectors.learn(map(np.flatnonzero, rows), tags)
    weights = bootstrap.group_weights(scores.groups, tags)
    arrays = scores.labels, scores.probability
    figures = all_metrics.compute(*arrays, thresholds, 0.3, weights, scores.predictive_variance, vectors)
    frequency_figures(frequencies, scores, vectors)
    bootstrap.tag_intervals(figures.by_tag["average_precision"], scores.labels, scores.groups)
    findings.confident_mistakes(*arrays, scores.groups, 12)
    findings.confusions(*arrays, thresholds, 15)
    tag_table.score_histograms(*arrays)
    contact_sheet.varied_sample(scores.labels)
    return _since(started, started_cpu)


def _calibrate(folder: Path, images: int, tags: int) -> dict:
    """Fit the thresholds, as the end of training and eval.py --calibrate do."""
    from evaluation.metrics.calibration import Target, fit

    scores, _ = _generated_scores(folder, images, tags)
    started, started_cpu = time.perf_counter(), time.process_time()
    fit(scores.labels, scores.probability, scores.groups, Target("f1"))
    return _since(started, started_cpu)


def _since(started: float, started_cpu: float) -> dict:
    """Return the time since then, and the peak memory of this process."""
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_mb()}


def _generated_scores(folder: Path, images: int, tags: int):
    """Return generated `Scores` in arrays like those of `score.score`, and the frequency of each tag, float32 (tags,)."""
    from benchmarks.metrics import fill_with_scores
    from evaluation.score import Scores, empty_scores

    random = np.random.default_rng(0)
    frequencies = np.minimum(0.3, 3 / np.arange(1, tags + 1)).astype(np.float32)  # some thirty tags an image
    arrays = empty_scores((images, tags), folder / "scores")
    fill_with_scores(*arrays, frequencies, random)
    groups = random.integers(0, max(1, images * 3 // 4), images)
    return Scores(np.arange(images), groups, True, *arrays), frequencies
