"""Correct the training labels of a data folder with the predictions of networks, and write them to a new data folder.

Pictures, validation labels and test labels do not change. Uncertain labels count less, and missing ones are added. The page
review.html shows you the least certain labels; it saves your decisions, which the next call of clean.py applies.
"""

from pathlib import Path

from command import Parser, run
from common.errors import InputError, command, counted, say
from common.files import only_writer
from common.processes import import_quietly, use_cpu
from labels.label_rules import RULES


def main() -> None:
    """Predict the pictures, clean the labels, apply people's decisions, write the new folder, and print what changed."""
    parser = Parser(__doc__)
    parser.add_argument("--run", type=Path, help="run folder (default: the newest)")
    parser.add_argument("--data", type=Path, help="folder made by download.py (default: the one used to train the run)")
    parser.add_argument("--out", type=Path, help="data folder to write (default: the name of --data and -clean)")
    parser.add_argument(
        "--rule",
        choices=RULES,
        default=RULES[0],
        help="posterior (default): combine labels and predictions by Bayes' rule; trains networks that have not seen the "
        "labels, see --folds; halved: use the run's own predictions: labels below their threshold count half, missing ones "
        "are added",
    )
    parser.add_argument("--folds", type=int, default=4, help="networks to train for the rule posterior (default: 4)")
    parser.add_argument("--decisions", type=Path, nargs="*", default=[], help="tables of decisions; later ones overrule")
    parser.add_argument("--events", type=Path, help="file of tags that users of serve.py added and rejected")
    parser.add_argument("--review", type=int, default=200, help="number of labels on the review page (default: 200)")
    parser.add_argument("--cpu", action="store_true", help="compute on the CPU, even where there is a GPU")
    options = parser.parse_args()
    if options.folds < 2 or options.review < 0:
        raise InputError(f"--folds must be 2 or more and --review 0 or more, received {options.folds} and {options.review}")
    if options.cpu:
        use_cpu()
    import_quietly("keras")
    import_quietly("tensorflow")
    from dataset import relabel
    from dataset.build.restricted import REASON
    from labels import cleaning, feedback, review
    from model import run_folder

    source_run = run_folder.load(options.run or run_folder.newest(Path("runs"), "model.keras", "train.py"))
    data = options.data or Path(source_run.data)
    out = options.out or data.with_name(f"{data.name}-clean")
    if out.resolve() == data.resolve():
        raise InputError(f"--out {out} is the folder to be cleaned: give another name")
    facts = {"from": relabel.data_fingerprint(data), "rule": options.rule}
    relabel.check_output_folder(out, facts)  # fails before hours of training rather than after
    decisions = [review.read_decisions(path) for path in options.decisions]
    verdicts_by_md5 = feedback.verdicts(options.events) if options.events else {}
    with only_writer(source_run.folder, ".clean.lock"):
        result = cleaning.clean(source_run, data, options.rule, options.folds, ["--cpu"] if options.cpu else [])
    for names, verdicts in ((result.md5s, verdicts_by_md5), *((result.ids, table) for table in decisions)):
        if verdicts and (unknown := len(verdicts) - result.apply_verdicts(names, verdicts)):
            say(f"{unknown:,} of {len(verdicts):,} decisions are of other pictures or tags")
    if left_out := cleaning.restricted(data, verdicts_by_md5, decisions):
        pictures = counted(len(left_out), "picture is", "pictures are")
        say(f"{pictures} left out, such as {min(left_out)}: {REASON}")
        facts["left_out"] = len(left_out)
    relabel.relabel(data, out, result.labels(), facts | result.facts(), left_out=left_out)
    page = review.write(out, data, result, options.review)
    print(f"{result.summary()}\n{out} is complete. To review: {page}. Next: {command('python', 'train.py', '--data', out)}")


if __name__ == "__main__":
    run(main, when_interrupted="Run the same command again to continue: trained networks are kept in the run folder.")
