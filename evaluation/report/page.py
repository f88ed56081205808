"""`runs/NAME/report/index.html`: the report of an evaluation, one page that loads nothing from elsewhere."""

from html import escape
from pathlib import Path
from string import Template

from common.files import atomic_write
from evaluation.evaluate import Evaluation
from evaluation.report import curves, pictures, sections, tag_table
from model import run_folder

HERE = Path(__file__).parent
TEMPLATE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<main>
$body
</main>
<script>
$script</script>
</body>
</html>
""")


def write(evaluation: Evaluation, values: dict) -> Path:
    """Write the report of an evaluation.

    Args:
        evaluation: the evaluation.
        values: its summary, as in `metrics.json`.

    Returns:
        Path of the page.
    """
    folder = evaluation.tagger.run.folder
    parts = {
        "": sections.headline(values),
        "Figures": sections.figure_tables(values),
        "Curves": curves.curves(evaluation, run_folder.read_history(folder)),
        "Tags": tag_table.tag_table(evaluation),
        "Pictures": pictures.best_and_worst(evaluation),
        "Mistakes": pictures.confident_mistakes(evaluation),
        "Confusion": sections.confusion_table(evaluation),
        "Thresholds": sections.thresholds(values),
        "Near-duplicates": pictures.near_duplicates(evaluation),
    }
    links = "".join(f'<a href="#{name.lower()}">{name}</a>' for name in parts if name)
    title = f"{values['split'].capitalize()} results of {folder.name}"
    body = [f"<h1>{escape(title)}</h1>", sections.split_summary(values), f"<nav>{links}</nav>"]
    for name, content in parts.items():
        body.append(f'<section id="{name.lower()}"><h2>{name}</h2>{content}</section>' if name else content)
    body.append(f"<footer>Made by eval.py of e6tag from {escape(str(folder))} and {escape(str(evaluation.data))}.</footer>")
    return save(folder / "report" / "index.html", title, "\n".join(body), HERE / "page.js")


def save(path: Path, title: str, body: str, script: Path) -> Path:
    """Write a page that needs no other file.

    Args:
        path: path of the page.
        title: title of the window, as plain text.
        body: content, as HTML.
        script: file with the page's JavaScript.

    Returns:
        `path`.
    """
    page = TEMPLATE.substitute(
        title=escape(title),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=script.read_text(encoding="utf-8"),
        body=body,
    )
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as file:
        file.write(page)
    return path
