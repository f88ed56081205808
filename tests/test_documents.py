"""The documentation is true to the tree: links, files, commands and their options."""

import ast
import functools
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
HISTORY = ROOT / "CHANGELOG.md"  # names what is no more
ARCHITECTURE = ROOT / "docs" / "architecture.md"
README_LINES = 250
ROOMS = (
    "common",
    "dataset",
    "model",
    "inference",
    "evaluation",
    "training",
    "retrieval",
    "labels",
    "web",
    "benchmarks",
    "docs",
)
DESCRIBED = {".py", ".js", ".css", ".html", ".csv", ".json", ".md"}
GENERATED = "results"  # below benchmarks/: one file for each measurement
FENCED = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(
    r"(?:python -m benchmarks(?: (?P<subject>[a-z_]+))?|(?:python )?\b(?P<script>[a-z_/]+\.py))(?P<rest>.*)"
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@functools.cache
def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives a document's headings."""
    found, seen = set(), Counter()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", FENCED.sub("", text_of(path)), re.MULTILINE):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken_links(path: Path) -> list[str]:
    """Return the relative links of a document that lead nowhere."""
    broken = []
    # A link's text may be code or a picture; its address never is.
    for link in re.findall(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)", FENCED.sub("", text_of(path))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_resolve(path):
    assert not broken_links(path)


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A *title*, here\n[a](#a-title-here) [b](#title) [c](page.md) [d](none.md) [`e`](page.md#none)\n```\n[f](g)\n```\n"
    )
    assert broken_links(page) == ["#title", "none.md", "page.md#none"]


def test_the_readme_is_short():
    assert len(text_of(ROOT / "README.md").splitlines()) <= README_LINES


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path != HISTORY], ids=name_of)
def test_files_that_are_named_exist(path):
    rooms = "|".join((*ROOMS, "tests"))
    named = re.findall(rf"(?<![\w/.-])((?:{rooms})/[\w/.-]*\.\w+)", text_of(path))
    # SUBJECT.py stands for any file.
    assert not [name for name in dict.fromkeys(named) if not (ROOT / name).exists() and not Path(name).stem.isupper()]


@functools.cache
def options_of_script(script: str) -> frozenset[str]:
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return frozenset(re.findall(r"--[a-z][a-z0-9-]*", done.stdout))


@functools.cache
def options_of_subject(subject: str) -> frozenset[str]:
    """Read the options of a benchmark in its source: its own --help imports Keras first."""
    source = text_of(ROOT / "benchmarks" / f"{subject}.py")
    return frozenset(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', source)) | {"--cpu"}


def commands(text: str) -> list[tuple[str, str, list[str]]]:
    """Return each command in a text: script, subject of a benchmark, and options. `X.py` without options is only a name."""
    found = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        # A line of a code block or a table may hold several commands; a sentence holds them as inline code.
        code = INLINE.findall(line) if "`" in line and not line.startswith((" " * 4, "```")) else [line]
        for piece in (piece for part in code for piece in re.split(r"\||;|&&|\s#|(?=\bpython )", part)):
            if match := COMMAND.search(piece):
                options = re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", match["rest"])
                if options or "python" in match[0]:
                    found.append((match["script"] or "", match["subject"] or "", options))
    return found


def test_commands_are_found_in_text():
    text = """See `train.py --init RUN` and `a`.

    $ KERAS_BACKEND=jax python -m benchmarks step --cpu | python test.py - --list  # not --this
    """
    assert commands(text) == [("train.py", "", ["--init"]), ("", "step", ["--cpu"]), ("test.py", "", ["--list"])]


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path != HISTORY], ids=name_of)
def test_commands_have_the_options_that_are_shown(path):
    unknown = []
    for script, subject, options in commands(text_of(path)):
        file = script or (f"benchmarks/{subject}.py" if subject else "benchmarks/__main__.py")
        if not (ROOT / file).is_file():
            unknown.append(file)
            continue
        if not options or not (script or subject):
            continue
        known = options_of_subject(subject) if subject else options_of_script(script)
        if script.startswith("tests/kill_and_resume"):
            known |= options_of_script("train.py")  # it hands them on
        unknown += [f"{script or subject} {option}" for option in options if option not in known | {"--help"}]
    assert not unknown


def described_files() -> dict[str, set[str]]:
    """Return the files that the table of rooms names, by folder; `root` for the folder of the suite itself."""
    rows = re.findall(r"^\| *(`[^|]*`|root) *\|[^|]*\|([^|]*)\|$", text_of(ARCHITECTURE), re.MULTILINE)
    rooms = {}
    for room, files in rows:
        names = INLINE.findall(files)
        rooms[room.strip("`/ ")] = {name if "." in name else f"{name}.py" for name in names}
    return rooms


@pytest.mark.parametrize("room", ["root", *ROOMS])
def test_the_architecture_names_every_file(room):
    described = described_files()
    folders = [ROOT] if room == "root" else [ROOT / room, *(path for path in (ROOT / room).rglob("*") if path.is_dir())]
    for folder in folders:
        if folder.name in ("__pycache__", GENERATED):
            continue
        suffixes = {".py"} if room == "root" else DESCRIBED
        there = {path.name for path in folder.iterdir() if path.suffix in suffixes and path.stem != "__init__"}
        name = "root" if room == "root" else name_of(folder)
        missing, gone = there - described.get(name, set()), described.get(name, set()) - there
        assert not missing, f"docs/architecture.md does not name {', '.join(sorted(missing))} of {name}"
        assert not gone, f"docs/architecture.md names {', '.join(sorted(gone))}, which {name} does not have"


def test_functions_that_the_architecture_names_are_in_their_files():
    """They stand before a file: `one`, `other`: `file`; `one` in `file`; `one` (`file`)."""
    places = re.findall(r"((?:`[\w.]+`(?:, (?:and )?| and )?)+)(?:: | in |, in | \()`([\w/]+\.py)`", text_of(ARCHITECTURE))
    assert len(places) > 20
    named = [(name, file) for names, file in places for name in INLINE.findall(names) if not name.endswith(".py")]
    missing = [
        f"{name} of {file}"
        for name, file in named
        if not re.search(
            rf"^\s*((def|class) {name.split('.')[-1]}\b|{name.split('.')[-1]}\b.*[:=])", text_of(ROOT / file), re.M
        )
    ]
    assert not missing


@pytest.mark.parametrize("file", ["Makefile", ".github/workflows/ci.yml", ".ci/run", "Dockerfile", "pyproject.toml"])
def test_automation_names_files_that_exist(file):
    named = re.findall(
        r"(?<![\w/.$()-])((?:tests|docs|common)/[\w/]+\.\w+|requirements[\w-]*\.txt|[a-z_]+\.py)\b", text_of(ROOT / file)
    )
    assert not [name for name in dict.fromkeys(named) if not (ROOT / name).exists()]


def test_the_image_holds_what_the_server_imports():
    """An exported run is served without Keras, so what only a network needs may be missing."""
    copied = re.findall(r"^COPY ([^-\n]+) \S+$", text_of(ROOT / "Dockerfile"), re.MULTILINE)
    copied = {name for line in copied for name in shlex.split(line)}
    waiting, imported = [Path("serve.py"), Path("test.py")], set()
    while waiting:
        path = waiting.pop()
        imported.add(path)
        for node in ast.walk(ast.parse(text_of(ROOT / path))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            files = {Path(*name.split(".")).with_suffix(".py") for name in names}
            waiting += [file for file in files - imported if (ROOT / file).is_file()]
    missing = {path.parts[0] for path in imported} - copied - {"heteroscedastic.py"}
    assert not missing
