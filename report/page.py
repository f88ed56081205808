"""`runs/NAME/report/index.html`: an evaluation as one page that needs nothing else, no network and no other file."""

from html import escape
from pathlib import Path
from string import Template

from model import runs
from model.evaluation import Evaluation
from report import pictures, sections

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
    """Write the page.

    Args:
        evaluation: what it shows.
        values: its summary, as in `metrics.json`.

    Returns:
        Its path.
    """
    folder = evaluation.tagger.run.folder
    parts = {
        "": sections.headline(values),
        "Figures": sections.figure_tables(values),
        "Curves": sections.curves(evaluation, runs.read_history(folder)),
        "Tags": sections.tag_table(evaluation),
        "Pictures": pictures.best_and_worst(evaluation),
        "Mistakes": pictures.confident_mistakes(evaluation),
        "Confusion": sections.confusion_table(evaluation),
        "Thresholds": sections.thresholds(values),
        "Near-duplicates": pictures.near_duplicates(evaluation),
    }
    links = "".join(f'<a href="#{name.lower()}">{name}</a>' for name in parts if name)
    title = f"{folder.name}: {values['split']} split"
    body = [f"<h1>What {escape(folder.name)} is worth</h1>", sections.what_was_measured(values), f"<nav>{links}</nav>"]
    for name, content in parts.items():
        body.append(f'<section id="{name.lower()}"><h2>{name}</h2>{content}</section>' if name else content)
    body.append(f"<footer>Made by eval.py of e6tag from {escape(str(folder))} and {escape(str(evaluation.data))}.</footer>")
    return save(folder / "report" / "index.html", title, "\n".join(body), "page.js")


def save(path: Path, title: str, body: str, script: str) -> Path:
    """Write a page that needs no other file.

    Args:
        path: of the page.
        title: as text.
        body: as HTML.
        script: name of its JavaScript, beside this file.

    Returns:
        `path`.
    """
    page = TEMPLATE.substitute(
        title=escape(title),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / script).read_text(encoding="utf-8"),
        body=body,
    )
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path
