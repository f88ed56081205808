"""Pages without a script: the tags of pictures that a form sent, and errors, as Danbooru's autotagger answers browsers."""

import base64
from html import escape

from fastapi import Request

MAX_SHOWN_BYTES = 8 * 2**20  # of a picture; the page holds it as text, which takes a third more
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="web/style.css">
</head>
<body>
<header><h1>{title}</h1><p class="quiet"><a href="./">Tag other pictures</a></p></header>
<main>
{content}
</main>
</body>
</html>
"""


def wants_page(request: Request) -> bool:
    """Return whether a request is to be answered with a page instead of JSON.

    Its field `format` decides, which `forms.read_form` stores; without one, a browser says that it accepts `text/html`.
    """
    if wanted := getattr(request.state, "format", None):
        return wanted == "html"
    accepted = request.headers.get("Accept", "")
    return "text/html" in accepted and "application/json" not in accepted


def error_page(error: str, message: str) -> str:
    """Return a page that says why a request was refused."""
    return PAGE.format(title=escape(error), content=f'<p class="error">{escape(message)}</p>')


def result_page(results: list[dict], files: list[tuple[str, bytes]]) -> str:
    """Return a page with each picture and its tags.

    Args:
        results: `filename`, `tags` and perhaps `error` of each file, as in the JSON.
        files: name and content of each file.
    """
    articles = [_article(result, data) for result, (_, data) in zip(results, files, strict=True)]
    return PAGE.format(title="Tags", content="\n".join(articles))


def _article(result: dict, data: bytes) -> str:
    name, tags = escape(result["filename"]), result["tags"]
    picture = ""
    if "error" not in result and len(data) <= MAX_SHOWN_BYTES:
        # Browsers recognise the kind of picture by its content, whatever the address says.
        address = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
        picture = f'<div class="picture"><img src="{address}" alt="{name}"></div>'
    rows = "".join(f"<tr><th>{escape(tag)}</th><td>{100 * value:.0f} %</td></tr>\n" for tag, value in tags.items())
    words = escape(" ".join(tags))
    found = f'<table>\n{rows}</table>\n<textarea readonly rows="4" aria-label="The tags with spaces">{words}</textarea>'
    if not tags:
        found = f'<p class="error">{escape(result["error"])}</p>' if "error" in result else '<p class="quiet">no tag</p>'
    return f"""<article class="result">
<figure>{picture}<figcaption class="quiet">{name}</figcaption></figure>
<div class="tags">
{found}
</div>
</article>"""
