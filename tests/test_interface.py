"""What programs and browsers send to serve.py: the OpenAPI document, Danbooru's client, a page without a script, methods."""

import html
import http.client
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

pytest.importorskip("fastapi", reason="needs requirements-serve.txt")

from running_server import serving

# What Chromium and Firefox send when a form is submitted.
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}
METHODS = {
    "/evaluate": "POST",
    "/heat": "POST",
    "/events": "GET, HEAD, POST",
    "/model": "GET, HEAD",
    "/healthz": "GET, HEAD",
    "/metrics": "GET, HEAD",
    "/openapi.json": "GET, HEAD",
    "/": "GET, HEAD",
}


@pytest.fixture(scope="module")
def server(emoji_onnx, tmp_path_factory):
    with serving(emoji_onnx, tmp_path_factory.mktemp("server")) as address:
        yield address


def danbooru_asks(server: str, name: str, data: bytes) -> tuple[int, str, bytes]:
    """Status, content type and body of the request of Danbooru's AutotaggerClient, byte for byte as http.rb writes it."""
    boundary = "-" * 21 + "0123456789abcdef01" * 2 + "234567"
    parts = [
        f'name="file"; filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'.encode() + data,
        b'name="threshold"\r\n\r\n0.01',
        b'name="format"\r\n\r\njson',
    ]
    lines = [b"--" + boundary.encode() + b"\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts]
    body = b"".join(lines) + b"--" + boundary.encode() + b"--"  # older versions of http.rb end without a line break
    connection = http.client.HTTPConnection(server.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", "/evaluate", skip_accept_encoding=True)
    for key, value in (
        ("Accept-Encoding", "gzip"),
        ("User-Agent", "Danbooru/0123456789abcdef"),
        ("Content-Type", f"multipart/form-data; boundary={boundary}"),
        ("Connection", "close"),
        ("Content-Length", str(len(body))),
    ):
        connection.putheader(key, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    return answer.status, answer.headers["Content-Type"], answer.read()


def test_danbooru_gets_what_its_client_reads(server, emoji_pictures):
    status, kind, body = danbooru_asks(server, "danbooru-download-20261126-1-abc", emoji_pictures[0].read_bytes())
    assert status == 200 and kind == "application/json"  # http.rb chooses its parser by this
    tags = json.loads(body)[0]["tags"]
    assert tags and all(0 <= round(100 * value) <= 100 and value >= 0.01 for value in tags.values())
    assert len(tags) <= 50  # Danbooru sends no limit
    status, _, _ = danbooru_asks(server, "a.jpg", b"nonsense")
    assert status == 400  # the client raises its error; the picture is not taken for one without tags


def test_a_browser_gets_a_page_and_programs_get_json(server, emoji_pictures):
    data = emoji_pictures[0].read_bytes()
    files = [("file", ("a & <b>.jpg", data)), ("file", ("torn.png", b"nonsense"))]

    def send(headers=None, **fields) -> requests.Response:
        return requests.post(f"{server}/evaluate", files=files, data=fields, headers=headers, timeout=60)

    tags = send().json()[0]["tags"]
    assert send(BROWSER, format="json").json()[0]["tags"] == tags
    assert send({"Accept": "application/json, text/html;q=0.5"}).json()[0]["tags"] == tags
    for answer in (send(BROWSER), send(format="html")):
        assert answer.status_code == 200 and answer.headers["Content-Type"] == "text/html; charset=utf-8"
        rows = re.findall("<tr><th>(.*)</th><td>(.*) %</td></tr>", answer.text)
        assert [(html.unescape(tag), value) for tag, value in rows] == [(tag, f"{100 * tags[tag]:.0f}") for tag in tags]
        assert "a &amp; &lt;b&gt;.jpg" in answer.text and "<b>" not in answer.text
        assert "torn.png" in answer.text and "text, not a picture" in answer.text
        assert "default-src" in answer.headers["Content-Security-Policy"] and len(answer.headers["X-Picture-MD5"]) == 65


def test_a_browser_gets_errors_as_a_page(server):
    files = {"file": ("<a>.png", b"nonsense")}
    for answer, status, name in (
        (requests.post(f"{server}/evaluate", files=files, headers=BROWSER, timeout=5), 400, "BadRequest"),
        (requests.post(f"{server}/evaluate", files=files, data={"format": "html"}, timeout=5), 400, "BadRequest"),
        (requests.get(f"{server}/evaluate", headers=BROWSER, timeout=5), 405, "MethodNotAllowed"),
        (requests.get(f"{server}/nowhere", headers=BROWSER, timeout=5), 404, "NotFound"),
    ):
        assert answer.status_code == status and f"<h1>{name}</h1>" in answer.text and "<a>.png" not in answer.text
    answer = requests.post(f"{server}/evaluate", files=files, data={"format": "xml"}, headers=BROWSER, timeout=5)
    assert answer.status_code == 400 and "json or html" in answer.json()["message"]


def test_the_page_without_a_script_tags_pictures(server, emoji_pictures, browser):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(server)
    page.locator("noscript input[type=file]").set_input_files([str(path) for path in emoji_pictures[:2]])
    page.get_by_role("button", name="Tag without JavaScript").click()
    page.wait_for_url("**/evaluate")
    assert page.locator("figcaption").all_inner_texts() == [path.name for path in emoji_pictures[:2]]
    assert page.locator("img").count() == 2 and page.locator("tr").count() > 2
    page.get_by_role("link", name="Tag other pictures").click()
    page.wait_for_url(f"{server}/")


def test_every_address_has_head_and_names_its_methods(server):
    for path, methods in METHODS.items():
        answer = requests.delete(f"{server}{path}", timeout=5)
        assert (answer.status_code, answer.headers["Allow"]) == (405, methods), path
        answer = requests.head(f"{server}{path}", timeout=5)
        assert answer.status_code == (200 if "HEAD" in methods else 405) and not answer.content
        assert path == "/metrics" or answer.headers["Content-Length"] != "0"


def test_the_document_describes_every_answer(server):
    document = requests.get(f"{server}/openapi.json", timeout=5).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert set(operation["responses"]) <= {"200", "204", "default"}, (method, path)
            for status, answer in operation["responses"].items():
                schemas = [content["schema"] for content in answer.get("content", {}).values()]
                assert status == "204" or (schemas and all(schemas)), (method, path, status)
    form = document["paths"]["/heat"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file", "tag"]
    assert (form["properties"]["file"]["minItems"], form["properties"]["file"]["maxItems"]) == (1, 32)
    names = list(requests.get(f"{server}/model", timeout=5).json()["tags"])
    assert document["components"]["schemas"]["TagName"]["enum"] == names


@pytest.mark.slow
def test_the_server_does_what_its_document_says(server, tmp_path):
    pytest.importorskip("schemathesis", reason="needs requirements-dev.txt")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server}/openapi.json", "--checks", "all"]
    options = ["--max-examples", "20", "--seed", "1", "--no-color"]
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "schemathesis_pictures", "PYTHONPATH": paths}
    done = subprocess.run(
        command + options, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout
