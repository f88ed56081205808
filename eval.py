"""Say what a run is worth: a run and held-out shards ▶ figures, a row a tag, a contact sheet."""

import shutil
from pathlib import Path

from command import Parser, import_quietly, run, say


def main() -> None:
    """Score a split and write what came out into the run folder."""
    parser = Parser(__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="run folder (default: the newest under runs/)")
    parser.add_argument("--data", type=Path, help="folder made by download.py (default: what the run was trained on)")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: test")
    given = parser.parse_args()

    import_quietly("keras")
    from dataset import records
    from model import report, runs, scoring
    from model.predict import Tagger

    folder = given.run or runs.newest(Path("runs"), "model.keras", "train.py")
    tagger = Tagger.load(folder)
    data = given.data or Path(tagger.run.data)
    scoring.check_vocabulary(tagger.run, data)
    say(f"{folder} on the {given.split} split of {data}")
    scores = scoring.score(tagger.network, data, given.split, tagger.run.config, show_progress=True)
    labels, probability = scores["labels"], scores["probability"]

    values = report.figures(labels, probability, tagger.thresholds, tagger.run.frequencies)
    values = {"run": str(folder), "data": str(data), "split": given.split} | values
    records.write_json(folder / "metrics.json", values)
    report.write_tags(folder / "metrics_by_tag.csv", tagger.run.tags, labels, probability, tagger.thresholds)
    names = [tag.name for tag in tagger.run.tags]
    shown = report.varied(labels)
    sheet = report.contact_sheet(
        [scores["image"][index] for index in shown], labels[shown], probability[shown], tagger.thresholds, names
    )
    sheet.save(folder / "contact_sheet.png")
    shutil.rmtree(folder / "examples", ignore_errors=True)
    (folder / "examples").mkdir()
    for index in shown:
        (folder / "examples" / f"{Path(scores['id'][index]).stem}.jpg").write_bytes(scores["image"][index])

    print(f"{given.split} split of {data}: {values['images']:,} images, {values['tags']:,} tags", end="")
    print(f", {values['tags_without_positives']} of them without a positive and left out of macro figures")
    print(report.table(values))
    print(f"Details: {folder}/metrics.json, metrics_by_tag.csv, contact_sheet.png, examples/")


if __name__ == "__main__":
    run(main)
