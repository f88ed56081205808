"""The rule of rooms: a file imports only from its own folder and from folders to the left of it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From left to right; rooms of one line do not import each other. What is inside a room has an order of its own.
ROOMS = (
    ("common",),
    ("dataset",),
    ("heteroscedastic", "model"),
    ("inference",),
    ("evaluation",),
    ("training", "retrieval"),
    ("labels",),
    ("web",),
    ("scripts",),
    ("benchmarks",),
)
INSIDE = {
    "dataset": ("", "boards", "build"),
    "evaluation": ("metrics", "", "report"),
    "inference": ("", "export"),
}
MAY_IMPORT = {("model", "heteroscedastic")}  # the noise layer stands at the top, and is part of the network
NUMPY_ONLY = Path("evaluation", "metrics")
HEAVY = ("keras", "tensorflow", "model", "dataset", "inference")


def files(root: Path) -> list[Path]:
    """The suite's own files, relative to its folder."""
    skipped = ("tests", "data", "runs")
    rooms = [path for path in root.iterdir() if path.is_dir() and path.name[0] != "." and path.name not in skipped]
    return sorted(
        path.relative_to(root) for path in [*root.glob("*.py"), *(path for room in rooms for path in room.rglob("*.py"))]
    )


def place(module: str) -> tuple[str, str]:
    """The room of a module, and the part of the room: `dataset.boards.e621` ▶ dataset, boards."""
    room, *inner = module.split(".")
    if room not in {name for names in ROOMS for name in names}:
        room = "scripts"
    return room, inner[0] if inner and inner[0] in INSIDE.get(room, ()) else ""


def imported(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and module of every import of a file, those inside functions too."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def broken_rules(root: Path) -> list[str]:
    """A line for each import that the rule forbids: the file, the line, and what it imports."""
    own = files(root)
    modules = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in own}
    order = {name: number for number, names in enumerate(ROOMS) for name in names}
    lines = []
    for path in own:
        room, part = place(".".join(path.with_suffix("").parts))
        for line, name in imported(ast.parse((root / path).read_text(encoding="utf-8"))):
            if name.split(".")[0] not in {module.split(".")[0] for module in modules}:
                if path.is_relative_to(NUMPY_ONLY) and name.split(".")[0] in HEAVY:
                    lines.append(f"{path}:{line} imports {name}: figures are defined with NumPy alone")
                continue
            other, other_part = place(name)
            parts = INSIDE.get(room, ("",))
            if other == room:
                allowed = (parts.index(other_part) <= parts.index(part) and room != "scripts") or name.startswith("command.")
            else:
                allowed = order[other] < order[room] or (room, other) in MAY_IMPORT
                allowed &= not (name.startswith("command.") and room not in ("scripts", "benchmarks"))
            if not allowed:
                lines.append(f"{path}:{line} imports {name}: {room} is not to the right of {other}")
    return lines


def test_every_import_is_from_the_left():
    assert not broken_rules(ROOT), "\n".join(broken_rules(ROOT))


@pytest.mark.parametrize(
    "path, line",
    [
        ("common/files.py", "from dataset import records"),
        ("dataset/records.py", "def read():\n    from dataset.boards.board import Post"),
        ("dataset/boards/e621.py", "import dataset.build.parts"),
        ("evaluation/evaluate.py", "from evaluation.report import page"),
        ("evaluation/metrics/metrics.py", "import keras"),
        ("retrieval/query.py", "from training.plan import Plan"),
        ("web/app.py", "from command import Parser"),
        ("eval.py", "import train"),
    ],
)
def test_a_wrong_import_is_named_with_its_line(tmp_path, path, line):
    for name in files(ROOT):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / path).write_text(f'"""A file."""\n\n{line}\n')
    [found] = broken_rules(tmp_path)
    assert found.startswith(f"{path}:{3 + line.count(chr(10))} imports ")
