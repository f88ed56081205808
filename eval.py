"""Say what a run is worth: a run and held-out shards ▶ figures with ranges, a row a tag, a report to look at."""

from pathlib import Path

from command import InputError, Parser, import_quietly, run, say


def main() -> None:
    """Evaluate one run and write what came out into its folder, or compare several."""
    parser = Parser(__doc__)
    parser.add_argument(
        "runs", type=Path, nargs="*", metavar="RUN", help="run folder (default: the newest); several: compare"
    )
    parser.add_argument("--data", type=Path, help="folder made by download.py (default: what the run was trained on)")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: test")
    parser.add_argument("--calibrate", action="store_true", help="first fit temperature and thresholds anew, on val")
    parser.add_argument("--target", help="of --calibrate: f1 (default), precision=0.9 or recall=0.8")
    given = parser.parse_args()
    if given.target and not given.calibrate:
        raise InputError("--target says what thresholds --calibrate fits: give both")

    import_quietly("keras")
    from model import comparison, evaluation, runs
    from model.calibration import Target
    from model.predict import Tagger

    target = Target.parse(given.target or "f1")
    folders = given.runs or [runs.newest(Path("runs"), "model.keras", "train.py")]
    data = given.data or Path(runs.load(folders[0]).data)
    if given.calibrate:
        for folder in folders:
            calibration = evaluation.calibrate(Tagger.load(folder), data, target)
            say(f"{folder}: temperature {calibration.temperature:.3f}, thresholds for {target} from the val split of {data}")
    if len(folders) > 1:
        print(comparison.compare([Tagger.load(folder) for folder in folders], data, given.split))
        return
    tagger = Tagger.load(folders[0])
    say(f"{folders[0]} on the {given.split} split of {data}")
    write(evaluation.evaluate(tagger, data, given.split))


def write(found) -> None:
    """Write an evaluation into its run folder, and print it in brief."""
    from dataset import records
    from model.evaluation import summary
    from report import contact_sheet, page, terminal

    folder, values = found.tagger.run.folder, summary(found)
    print(f"{found.split} split of {found.data}: {values['images']:,} images, {values['tags']:,} tags")
    if found.split != "test":
        print(f"{terminal.brief(values)}\nNothing is written: the files in {folder} are of the test split")
        return
    page.write(found, values)
    terminal.write_tags(folder / "metrics_by_tag.csv", found)
    contact_sheet.write(found)
    records.write_json(folder / "metrics.json", values)
    print(terminal.brief(values))
    print(f"To look at: {folder}/report/index.html, contact_sheet.png; details: metrics.json, metrics_by_tag.csv")


if __name__ == "__main__":
    run(main)
