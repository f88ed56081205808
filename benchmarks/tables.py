"""Write the stored figures into the documentation: the tables of docs/results.md and docs/benchmarks.md.

    python -m benchmarks tables

It replaces the text between `<!-- table: NAME -->` and `<!-- end -->` by the table of benchmarks/results/NAME.json, or by
one of the tables in `COMBINED`.
"""

import importlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import ablation, implied, input, select
from benchmarks.reporting import RESULTS, Table, stored
from common.errors import InputError
from common.files import atomic_write

DOCUMENTS = (Path("docs") / "results.md", Path("docs") / "benchmarks.md")
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
INPUT_SIZES = ["input-openmoji-1024-224", "input-openmoji-320-64", "input-openmoji-320-224", "input-openmoji-64"]
# Kind of labels ▶ suffix of the result.
WRONG = {"20 % wrong": "-wrong-0.2", "40 % wrong": "-wrong-0.4"}
MISSING = {"25 % missing": "-missing-0.25", "50 % missing": "-missing-0.5", "75 % missing": "-missing-0.75"}
LABELS = {
    "ablation-openmoji": {"clean": ""} | MISSING | WRONG,
    "ablation-openclipart": {"clean": ""} | MISSING | WRONG,
    "ablation-emoji": {"50 % missing": "-missing-0.5", "40 % wrong": "-wrong-0.4"},
    "ablation-lean-openmoji": {"clean": ""} | WRONG,
    "ablation-lean-openclipart": {"clean": ""} | WRONG,
}
RANKING = {"average_precision_macro": "mAP", "auc_roc_macro": "AUC"}
# Tables that are not simply one result ▶ the results that they use, and a function that makes them.
COMBINED: dict[str, tuple[list[str], Callable[[], Table]]] = {
    **{
        f"{name}-by-labels": (list(results.values()), partial(ablation.table_by_labels, results, RANKING))
        for name, suffixes in LABELS.items()
        for results in [{kind: f"{name}{suffix}" for kind, suffix in suffixes.items()}]
    },
    "input-sizes": (INPUT_SIZES, partial(input.table_of_sizes, INPUT_SIZES)),
    "implied-solutions": (["implied"], lambda: implied.table_of_solutions(stored("implied")[0])),
    "implied-learned": (["implied"], lambda: implied.table_of_learned(stored("implied")[0])),
    "implied-planted": (["implied"], lambda: implied.table_of_planted(stored("implied")[0])),
    "select-samplings": (["select"], lambda: select.table_of_samplings(stored("select")[0])),
}


def write_tables() -> None:
    """Rewrite the tables of both documents and name the documents that changed."""
    for path in DOCUMENTS:
        before = path.read_text(encoding="utf-8")
        after = with_tables(before)
        if after != before:
            with atomic_write(path) as file:
                file.write(after)
        print(f"{path}: {'rewritten' if after != before else 'unchanged'}, {len(BLOCK.findall(after))} tables")


def with_tables(text: str) -> str:
    """Return a document with its tables made anew from the stored results.

    Raises:
        InputError: a marker names no result.
    """
    return BLOCK.sub(lambda block: f"{block[1]}\n{table_of(block[2])}\n\n{block[3]}", text)


def table_of(name: str) -> str:
    """Return a table in Markdown, and a line that says when and on what it was measured.

    Raises:
        InputError: there is no such result.
    """
    results, make = COMBINED.get(name, ([name], None))
    if missing := [result for result in results if not (RESULTS / f"{result}.json").exists()]:
        raise InputError(f"a marker names table {name}; expected {RESULTS / missing[0]}.json, which does not exist")
    if make is None:
        subject = importlib.import_module(f"benchmarks.{name.partition('-')[0]}")
        table = subject.table(stored(name)[0])
    else:
        table = make()
    machines = [stored(result)[1] for result in results]
    dates = " and ".join(sorted({machine["date"].partition(" ")[0] for machine in machines}))
    devices = " and ".join(sorted({_device(machine) for machine in machines}))
    return f"{table.as_markdown()}\n\nMeasured on {dates}: {devices}."


def _device(machine: dict) -> str:
    cores, number_format = machine["cores"], machine.get("number format")  # which older results lack
    device = f"{machine['device']}, {machine['gpu'] or machine['cpu']}, {cores} core{'s' if cores > 1 else ''}"
    return f"{device}, {number_format} by default" if number_format else device
