"""Learn from corrections: collect them, ask about the labels that are worth most, train the run with them, and compare.

Corrections come from the page of serve.py, from tables, from the texts beside your pictures, and from the page that this
command opens. They have the last word over the labels of the board, and stay in NAME-corrections.csv beside the data folder.
"""

import contextlib
import threading
from pathlib import Path

from command import Parser, run
from common.errors import InputError, command, say
from common.files import only_writer
from common.processes import import_quietly, use_cpu
from web.listener import listen

HOST = "127.0.0.1"  # the page shows pictures and has no password: only this computer reaches it
QUESTIONS = 1000  # proposed in one call, twenty pages


def main() -> None:
    """Finish a round that was interrupted, or collect corrections, ask for more, train with them, and compare."""
    options = parse_arguments()
    listener = None if options.train else listen(HOST, options.port)  # a taken port is reported before anything slow
    if options.cpu:
        use_cpu()
    import_quietly("keras")
    import_quietly("tensorflow")
    from labels import improvement
    from model import run_folder

    source = run_folder.load(options.run or run_folder.newest(Path("runs"), "model.keras", "train.py"))
    source = improvement.start_of(source)
    run_folder.check_network(source.folder / "model.keras")
    training_options = ["--cpu"] if options.cpu else []
    with only_writer(source.folder, ".improve.lock"):
        if interrupted := improvement.unfinished(source):
            say(f"{interrupted.run} was interrupted and goes on, with the corrections that it began with")
            print(improvement.finish(interrupted, training_options))
            say("corrections that were made since are learned by the next call")
            return
        collected = collect(source, options)
        print(collected.summary(), flush=True)
        if listener and not ask(source, collected, options, listener):
            return
        collected = collect(source, options) if listener else collected
        if listener:
            print(collected.summary(), flush=True)
        if done := improvement.learned_by(source, collected):
            go_on = command("python", "improve.py", "--run", done.run)
            print(f"{done.run} has learned these corrections and pictures already: there is nothing to train. Next: {go_on}")
            return
        if (new := improvement.begin(source, collected)) is None:
            print(f"{source.folder} has learned all corrections and pictures: there is nothing to train")
            return
        print(improvement.finish(new, training_options))
    print(f"{new.run} is trained; {source.folder} is unchanged. Next: {command('python', 'improve.py', '--run', new.run)}")


def parse_arguments():
    """Return the options of the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--run", type=Path, help="run folder that learns (default: the newest)")
    parser.add_argument(
        "--events", type=Path, nargs="+", help="files of marks that serve.py wrote (default: events.sqlite of the run)"
    )
    parser.add_argument("--decisions", type=Path, nargs="+", default=[], help="tables with the columns id, tag, decision")
    parser.add_argument("--train", action="store_true", help="train with the corrections so far, without the page")
    parser.add_argument("--port", type=int, default=5001, help="port of the page on this computer (default: 5001)")
    parser.add_argument("--cpu", action="store_true", help="compute on the CPU, even where there is a GPU")
    options = parser.parse_args()
    if not 0 <= options.port < 65536:
        raise InputError(f"--port has to be between 0 and 65535. Received: {options.port}")
    return options


def collect(source, options):
    """Return all corrections of the data folder behind a run, from everywhere they are made."""
    from labels import collecting, improvement

    own = source.folder / "events.sqlite"
    events = list(options.events or ())
    if own.exists() and own not in events:
        events.append(own)
    return collecting.collect(improvement.base_of(source), events, options.decisions)


def ask(source, collected, options, listener) -> bool:
    """Open the page, and wait until the person wants to train, or presses Ctrl-C. Return whether to train."""
    try:
        from web import app, questions
    except ModuleNotFoundError as error:
        advice = "pip install -r requirements-serve.txt, or give --train to do without the page"
        raise InputError(f"the page of improve.py needs {error.name}: {advice}") from None
    from inference.tagger import Tagger, model_file
    from labels.asking import questions_for
    from labels.feedback import Events

    tagger = Tagger.open(source.folder)
    asked = questions_for(tagger, collected, QUESTIONS)
    file = source.folder / "events.sqlite"
    events = Events(file, app.version_of(tagger, [model_file(source.folder)]))
    wants_to_train = threading.Event()
    application = questions.build(asked, events, str(source.folder), wants_to_train.set)
    port = listener.getsockname()[1]
    say(f"questions on http://{HOST}:{port}/ (T: train, Ctrl-C: end without training); answers are stored in {file}")
    with contextlib.suppress(KeyboardInterrupt):
        questions.serve(application, listener, wants_to_train.is_set)
    events.close()
    if not wants_to_train.is_set():
        train = command("python", "improve.py", "--run", source.folder, "--train")
        print(f"All answers are in {file}. To train with them: {train}")
    return wants_to_train.is_set()


if __name__ == "__main__":
    run(main, when_interrupted="Run the same command again to continue: answers and corrections are stored.")
