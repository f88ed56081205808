"""Measure one subject: print a table, and write its figures and the machine to benchmarks/results/SUBJECT….json.

    python -m benchmarks SUBJECT [options]     run it in the project folder; SUBJECT --help lists the options
    python -m benchmarks tables                write the stored figures into docs/results.md and docs/benchmarks.md

Training runs made for a comparison are kept under runs/bench/, so an interrupted command goes on where it stopped. The
subjects `step`, `noise`, `head`, `predict` and `search` use synthetic data and need no TensorFlow: start them with
KERAS_BACKEND=jax.
"""

import argparse
import ast
import importlib
import sys
from pathlib import Path

from command import Parser, run
from common.processes import import_quietly, use_cpu

# One module of this folder for each, with `add_options(parser)` and `measure(options)`, and `table(figures)` if it stores
# figures.
SUBJECTS = (
    "ablation",
    "peers",
    "published",
    "stability",
    "labels",
    "transfer",
    "training_time",
    "teach",
    "improve",
    "input",
    "resizing",
    "sampling",
    "step",
    "operations",
    "noise",
    "head",
    "predict",
    "folder",
    "memory",
    "metrics",
    "select",
    "readers",
    "scale",
    "gpu",
    "pointing",
    "search",
    "frontends",
    "serve",
    "fuzz",
    "implied",
)
TABLES = "tables"


def main() -> None:
    """Measure the subject that the command line names, or rewrite the tables of the documentation."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in (*SUBJECTS, TABLES):
        _overview().parse_args()
    if "--cpu" in sys.argv:
        use_cpu()
    import_quietly("keras")
    module = importlib.import_module(f"benchmarks.{name}")
    parser = _parser(module.__doc__, f"python -m benchmarks {name}")
    if name == TABLES:
        parser.parse_args(sys.argv[2:])
        module.write_tables()
        return
    parser.add_argument("--cpu", action="store_true", help="measure on the CPU, even where there is a GPU")
    parser.set_defaults(subject=name)
    module.add_options(parser)
    options = parser.parse_args(sys.argv[2:])
    for option, value in vars(options).items():
        numbers = [number for number in (value if isinstance(value, list) else [value]) if type(number) in (int, float)]
        if min(numbers, default=1) <= 0 and value != parser.get_default(option):
            parser.error(f"--{option.replace('_', '-')} has to be greater than 0. Received: {value}")
    check_data(getattr(options, "data", None))
    module.measure(options)


def check_data(data: Path | list[Path] | None) -> None:
    """Check the data folders of `--data`, so that a wrong name ends the command before anything is measured.

    Raises:
        InputError: a folder is missing or unfinished.
    """
    if data:
        from training.plan import read_manifest  # here, because subjects without data folders need no TensorFlow

        for folder in data if isinstance(data, list) else [data]:
            read_manifest(folder)


def _overview() -> Parser:
    """Return the parser of `--help`. It reads the first line of each subject's module, but imports none of them."""
    lines = []
    for name in SUBJECTS:
        source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
        lines.append(f"    {name:<10} {(ast.get_docstring(ast.parse(source)) or '').splitlines()[0]}")
    parser = _parser("\n".join([__doc__ or "", "subjects:", *lines]), "python -m benchmarks")
    parser.add_argument("subject", choices=(*SUBJECTS, TABLES), metavar="SUBJECT", help="what to measure")
    return parser


def _parser(description: str | None, program: str) -> Parser:
    parser = Parser(description)
    parser.prog, parser.formatter_class = program, argparse.RawDescriptionHelpFormatter
    return parser


if __name__ == "__main__":
    run(main, when_interrupted="Finished runs are kept under runs/bench/: the same command goes on from there.")
