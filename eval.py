"""Measure a run on pictures that it has not seen: print figures with their ranges, and write a report."""

from pathlib import Path

from command import Parser, run
from common import files
from common.errors import InputError, say
from common.processes import import_quietly


def main() -> None:
    """Evaluate one run and write the results into its folder, or compare several runs."""
    parser = Parser(__doc__)
    parser.add_argument(
        "runs", type=Path, nargs="*", metavar="RUN", help="run folder (default: the newest); several: compare them"
    )
    parser.add_argument("--data", type=Path, help="folder made by download.py (default: the run's training data)")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: test")
    parser.add_argument(
        "--calibrate", action="store_true", help="first fit temperature and thresholds again, on the val split"
    )
    parser.add_argument(
        "--target", help="what --calibrate chooses the thresholds for: f1 (default), precision=0.9 or recall=0.8"
    )
    options = parser.parse_args()
    if options.target and not options.calibrate:
        raise InputError(f"--target needs --calibrate. Received: --target {options.target} alone")

    import_quietly("keras")
    from dataset import images, records
    from evaluation import compare, evaluate
    from evaluation.metrics.calibration import Target
    from inference.tagger import Tagger
    from model import run_folder

    target = Target.parse(options.target or "f1")
    folders = options.runs or [run_folder.newest(Path("runs"), "model.keras", "train.py")]
    data = options.data or Path(run_folder.load(folders[0]).data)
    # Without a manifest, the evaluation says what is wrong.
    version = records.decode_version(data) if (data / "manifest.json").is_file() else images.DECODE_VERSION
    if difference := images.version_difference(version, str(data)):
        say(difference)
    if options.calibrate:
        for folder in folders:
            calibration = evaluate.calibrate(Tagger.open(folder), data, target)
            say(f"{folder}: temperature {calibration.temperature:.3f}, thresholds for {target} from the val split of {data}")
    if len(folders) > 1:
        print(compare.compare([Tagger.open(folder) for folder in folders], data, options.split))
        return
    tagger = Tagger.open(folders[0])
    say(f"{folders[0]} on the {options.split} split of {data}")
    write(evaluate.evaluate(tagger, data, options.split))


def write(evaluation) -> None:
    """Print an evaluation in brief and, for the test split, write it into the run folder."""
    from evaluation.evaluate import summary
    from evaluation.report import contact_sheet, page, terminal

    folder, values = evaluation.tagger.run.folder, summary(evaluation)
    print(f"{evaluation.split} split of {evaluation.data}: {values['images']:,} images, {values['tags']:,} tags")
    if evaluation.split != "test":
        print(f"{terminal.brief(values)}\nNo report is written: the report in {folder} describes the test split")
        return
    page.write(evaluation, values)
    terminal.write_tags(folder / "metrics_by_tag.csv", evaluation)
    contact_sheet.write(evaluation)
    files.write_json(folder / "metrics.json", values)
    print(terminal.brief(values))
    print(f"Report: {folder}/report/index.html; pictures: contact_sheet.png; details: metrics.json, metrics_by_tag.csv")


if __name__ == "__main__":
    run(main)
