"""Clean a data folder's training labels by what networks say of its pictures: a run and a data folder ▶ another data folder.

The pictures stay and so do validation and test labels; labels that are in doubt count less, and missing ones are added. What
is most in doubt is put before you: the page review.html saves your decisions, which the next clean.py takes.
"""

from pathlib import Path

from command import InputError, Parser, import_quietly, only_writer, run, say, use_cpu
from model.label_rules import RULES


def main() -> None:
    """Ask the networks, take people's decisions, write the new folder, and say what changed."""
    parser = Parser(__doc__)
    parser.add_argument("--run", type=Path, help="run folder (default: the newest)")
    parser.add_argument("--data", type=Path, help="folder made by download.py (default: what the run was trained on)")
    parser.add_argument("--out", type=Path, help="data folder to make (default: the data folder's name and -clean)")
    parser.add_argument(
        "--rule",
        choices=RULES,
        default=RULES[0],
        help="posterior (default): Bayes' rule on what networks say that have not seen the labels, trained here on --folds; "
        "halved: by the run alone, labels below their threshold count half, confident ones are added",
    )
    parser.add_argument("--folds", type=int, default=4, help="networks trained for the rule posterior (default: 4)")
    parser.add_argument("--decisions", type=Path, nargs="*", default=[], help="tables saved by review.html; the last counts")
    parser.add_argument("--events", type=Path, help="what serve.py's users added and rejected")
    parser.add_argument("--review", type=int, default=200, help="labels that are put before you (default: 200)")
    parser.add_argument("--cpu", action="store_true", help="compute on the CPU, even where there is a GPU")
    options = parser.parse_args()
    if options.folds < 2 or options.review < 0:
        raise InputError("--folds has to be 2 or more, and --review 0 or more")
    if options.cpu:
        use_cpu()
    import_quietly("keras")
    import_quietly("tensorflow")
    from dataset import relabel
    from model import cleaning, runs
    from report import review
    from web import events

    of_run = runs.load(options.run or runs.newest(Path("runs"), "model.keras", "train.py"))
    data = options.data or Path(of_run.data)
    out = options.out or data.with_name(f"{data.name}-clean")
    if out.resolve() == data.resolve():
        raise InputError(f"--out {out} is the folder to be cleaned: give another name")
    facts = {"from": relabel.source_of(data), "rule": options.rule}
    relabel.made_already(out, facts)  # or something else is there, which is better said before hours of training
    decided = [review.read_decisions(path) for path in options.decisions]
    said = events.verdicts(options.events) if options.events else {}
    with only_writer(of_run.folder, ".clean.lock"):
        found = cleaning.clean(of_run, data, options.rule, options.folds, ["--cpu"] if options.cpu else [])
    for names, verdicts in ((found.md5s, said), *((found.ids, each) for each in decided)):
        if verdicts and (unknown := len(verdicts) - found.decide(names, verdicts)):
            say(f"{unknown:,} of {len(verdicts):,} decisions are of other pictures or tags")
    relabel.relabel(data, out, found.labels(), facts | found.facts())
    page = review.write(out, data, found, options.review)
    print(f"{found.summary()}\n{out} is whole. To look at: {page}. Next: python train.py --data {out}")


if __name__ == "__main__":
    run(main, when_interrupted="The same command goes on: networks that are trained are kept in the run folder.")
