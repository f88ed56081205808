"""serve.py: the answers that programs rely on, the limits, and the page in a browser."""

import contextlib
import io
import json
import random
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from conftest import program
from PIL import Image
from running_server import serving

pytest.importorskip("fastapi", reason="needs requirements-serve.txt")


@pytest.fixture(scope="module")
def server(emoji_onnx, tmp_path_factory):
    with serving(emoji_onnx, tmp_path_factory.mktemp("server")) as address:
        yield address


def evaluate(server, *files, **fields):
    named = [("file", (name, data)) for name, data in files]
    return requests.post(f"{server}/evaluate", files=named, data={"format": "json"} | fields, timeout=60)


def test_answers_are_the_autotaggers_and_the_programs(server, emoji_onnx, emoji_pictures):
    emoji_pictures = emoji_pictures[:20]
    answer = evaluate(server, *((path.name, path.read_bytes()) for path in emoji_pictures), threshold="0", limit="5")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    options = ("--run", emoji_onnx, "--threshold", 0, "--top", 5, "--json")
    expected = json.loads(program("test.py", *emoji_pictures, *options).stdout)
    for ours, theirs in zip(answer.json(), expected, strict=True):
        assert list(ours) == ["filename", "tags"] and theirs["file"].endswith(f"/{ours['filename']}")
        assert ours["tags"] == pytest.approx(theirs["tags"], abs=1e-3)
    # As in the autotagger, fields may stand in the address, and the threshold is 0.1 unless given.
    picture = ("a.jpg", emoji_pictures[0].read_bytes())
    by_default = evaluate(server, picture).json()[0]["tags"]
    assert by_default == {name: value for name, value in by_default.items() if value >= 0.1}
    answer = requests.post(f"{server}/evaluate?threshold=0&limit=2", files={"file": picture}, timeout=60)
    assert len(answer.json()[0]["tags"]) == 2
    assert len(evaluate(server, picture, threshold="0", limit="1" + "0" * 24).json()[0]["tags"]) == 12


@pytest.mark.parametrize(
    "files, fields, words",
    [
        ((), {}, "no file"),
        ((("a.png", b"nonsense"),), {}, "a.png: text, not a picture"),
        ((("a.png", b""),), {}, "empty file"),
        ("picture", {"format": "xml"}, "format has to be json or html"),
        ("picture", {"threshold": "high"}, "threshold has to be a number"),
        ("picture", {"threshold": "nan"}, "threshold has to be a number"),
        ("picture", {"limit": "1e3"}, "limit has to be a number"),
        ("picture", {"limit": "9" * 400}, "limit has to be a number"),
    ],
)
def test_bad_requests_are_refused_with_a_reason(server, emoji_pictures, files, fields, words):
    files = [("a.jpg", emoji_pictures[0].read_bytes())] if files == "picture" else files
    answer = evaluate(server, *files, **fields)
    assert answer.status_code == 400 and answer.json()["error"] == "BadRequest" and words in answer.json()["message"]


def test_each_file_has_its_own_answer(server, emoji_pictures):
    data = emoji_pictures[0].read_bytes()
    answer = evaluate(server, ("a.jpg", data), ("bad.png", b"nonsense"), ("b.jpg", data), threshold="0")
    assert answer.status_code == 200 and len(answer.headers["X-Picture-MD5"].split(",")) == 3
    first, bad, last = answer.json()
    assert first["tags"] == last["tags"] and len(first["tags"]) == 12
    assert bad["filename"] == "bad.png" and bad["tags"] == {} and bad["error"]


def test_every_refusal_has_the_same_shape(server, emoji_pictures):
    picture = {"picture": ("a.jpg", emoji_pictures[0].read_bytes())}  # the field's name is `file`
    for answer, kind, words in (
        (requests.post(f"{server}/evaluate", files=picture, timeout=60), "BadRequest", "named file"),
        (requests.post(f"{server}/events", json={"picture": "cat"}, timeout=5), "BadRequest", "body.picture"),
        (requests.post(f"{server}/events", data="{", timeout=5), "BadRequest", "body"),
        (requests.get(f"{server}/nowhere", timeout=5), "NotFound", "Not Found"),
        (requests.get(f"{server}/evaluate", timeout=5), "MethodNotAllowed", "Not Allowed"),
    ):
        assert list(answer.json()) == ["error", "message"], answer.text
        assert answer.json()["error"] == kind and words in answer.json()["message"]


def test_limits_and_names(server):
    assert evaluate(server, ("large.png", bytes(65 * 2**20))).status_code == 413
    assert requests.post(f"{server}/events", data=bytes(5 * 2**20), timeout=5).status_code == 413
    assert evaluate(server, *[("a.png", b"x")] * 40).status_code == 400
    assert requests.get(f"{server}/healthz", headers={"Host": "elsewhere.example"}, timeout=5).status_code == 400
    assert requests.get(f"{server}/web/app.py", timeout=5).status_code == 404
    assert requests.head(server, timeout=5).status_code == 200
    assert requests.get(f"{server}/healthz", timeout=5).json()["status"] == "ok"


def test_events_are_kept_and_counted(server):
    tags = list(requests.get(f"{server}/model", timeout=5).json()["tags"])

    def post(**content) -> int:
        return requests.post(f"{server}/events", json=content, timeout=5).status_code

    assert post(picture="0" * 32, seen=tags[:2]) == 204 and post(picture="1" * 32, seen=tags[:1]) == 204
    assert post(picture="0" * 32, added=tags[:1]) == 204 and post(picture="0" * 32, rejected=tags[:1]) == 204
    counts = requests.get(f"{server}/events", timeout=5).json()
    assert counts[tags[0]] == {"seen": 2, "added": 0, "rejected": 1}  # of two verdicts on a picture, the last counts
    assert counts[tags[1]] == {"seen": 1, "added": 0, "rejected": 0}
    assert post(picture="0" * 32, withdrawn=tags[:1]) == 204 and post(picture="0" * 32, withdrawn=["no such tag"]) == 400
    assert requests.get(f"{server}/events", timeout=5).json()[tags[0]] == {"seen": 2, "added": 0, "rejected": 0}
    assert post(picture="0" * 32, seen=["no such tag"]) == 400 and post(picture="not an md5") == 400


def test_metrics_count_what_happened(server, emoji_pictures):
    def value(line: str) -> float:
        text = requests.get(f"{server}/metrics", timeout=5).text
        return sum(float(row.rsplit(" ", 1)[1]) for row in text.splitlines() if row.startswith(line))

    before = value('e6tag_requests_total{path="/evaluate",status="200"}'), value("e6tag_batch_size_sum")
    evaluate(server, *((path.name, path.read_bytes()) for path in emoji_pictures[:3]))
    after = value('e6tag_requests_total{path="/evaluate",status="200"}'), value("e6tag_batch_size_sum")
    assert (after[0] - before[0], after[1] - before[1]) == (1, 3)
    assert value("e6tag_model{") == 1 and value("e6tag_pictures_in_work") == 0


def test_many_clients_get_their_own_answers_or_are_told_to_wait(server, emoji_pictures):
    data = [path.read_bytes() for path in emoji_pictures]
    alone = [evaluate(server, ("a", item), threshold="0").json()[0]["tags"] for item in data]

    def ask(index: int) -> tuple[int, int, dict]:
        answer = evaluate(server, *[("a", data[index % len(data)])] * 8, threshold="0")
        return index % len(data), answer.status_code, answer.json()

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(64)))
    assert {status for _, status, _ in answers} <= {200, 503} and any(status == 200 for _, status, _ in answers)
    for index, status, content in answers:
        if status == 200:
            assert all(tags["tags"] == pytest.approx(alone[index], abs=1e-3) for tags in content)
        else:
            assert content["error"] == "ServiceUnavailable"


def test_no_broken_picture_breaks_the_server(server, emoji_pictures):
    random.seed(0)
    whole = [path.read_bytes() for path in emoji_pictures[:4]]
    frames = [Image.new("RGB", (40, 30), (shade, 0, 0)) for shade in range(0, 250, 25)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    whole.append(file.getvalue())
    for _ in range(150):
        data = bytearray(random.choice(whole))
        for _ in range(random.randrange(20)):
            data[random.randrange(len(data))] = random.randrange(256)
        answer = evaluate(server, ("a", bytes(data[: random.randrange(1, len(data) + 1)])))
        assert answer.status_code in (200, 400), answer.text
    for body in (b"", b"--x", b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n', random.randbytes(999)):
        for kind in ("multipart/form-data; boundary=x", "multipart/form-data", "application/json", "text/\xff"):
            answer = requests.post(f"{server}/evaluate", data=body, headers={"Content-Type": kind}, timeout=5)
            assert answer.status_code == 400, (body, kind, answer.text)


def test_a_taken_port_is_one_line(server, emoji_onnx, tmp_path):
    port = server.rsplit(":", 1)[1]
    done = program("serve.py", "--run", emoji_onnx, "--port", port, "--events", tmp_path / "events.sqlite")
    assert done.returncode == 1 and "cannot listen" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


DROP = """async ([name, base64]) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, {type: "image/jpeg"}));
    document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


def test_the_page_tags_explains_and_keeps_verdicts(emoji_run, emoji_pictures, tmp_path, browser):
    import base64

    picture = emoji_pictures[0]
    with serving(emoji_run, tmp_path) as address:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: message.type == "error" and problems.append(message.text))
        page.goto(address)
        page.evaluate(DROP, [picture.name, base64.b64encode(picture.read_bytes()).decode()])
        page.locator(".result .count", has_text="tag").wait_for(timeout=60_000)
        page.get_by_label("Lowest probability").focus()
        page.keyboard.press("Home")  # the slider's left end
        assert not page.get_by_label("each tag’s own threshold").is_checked()
        # The page compares probabilities as it shows them, with four decimals.
        expected = evaluate(address, ("a", picture.read_bytes()), threshold="0.00995").json()[0]["tags"]
        page.locator(".chip").nth(len(expected) - 1).wait_for()  # the page answers a moment later
        assert page.locator(".chip .word").all_inner_texts() == list(expected)
        first, second, third = list(expected)[:3]
        page.get_by_role("button", name=f"{first} is right").click()
        page.get_by_role("button", name=f"{second} is wrong").press("Enter")
        assert page.locator(".chip.rejected .word").inner_text() == second
        for _ in range(2):  # the second takes it back
            page.get_by_role("button", name=f"{third} is right").click()
        assert page.locator(".chip.added .word").all_inner_texts() == [first]
        page.locator(".chip .name").first.hover()
        page.locator("canvas.shown").wait_for(timeout=60_000)
        page.keyboard.press("End")
        page.wait_for_timeout(1000)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and not problems
        page.evaluate(DROP, ["torn.jpg", base64.b64encode(b"nonsense").decode()])
        page.get_by_text("1 of 2 pictures tagged").wait_for()
        assert page.locator("figcaption").first.inner_text().startswith("torn.jpg: not shown")
        page.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "events.sqlite")) as database:
        events = set(database.execute("SELECT tag, kind FROM events"))
        md5s = {row[0] for row in database.execute("SELECT DISTINCT picture FROM events")}
    assert events == {(first, "added"), (second, "rejected"), *((name, "seen") for name in expected)}
    assert len(md5s) == 1
