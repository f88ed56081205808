"""Serve a run: a page to drop pictures on, an API like that of Danbooru's autotagger, metrics."""

import contextlib
import os
import socket
from pathlib import Path

from command import InputError, Parser, import_quietly, run, say

CONNECTIONS = 256  # more are told to come again
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main() -> None:
    """Load the run, answer until stopped."""
    parser = Parser(__doc__)
    parser.add_argument("--run", type=Path, help="run folder, or an exported model.onnx (default: the newest under runs/)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=5000, help="default: 5000")
    parser.add_argument("--events", type=Path, help="SQLite file of what people said (default: events.sqlite by the model)")
    parser.add_argument("--index", type=Path, help="folder made by search.py --index: adds a search box")
    given = parser.parse_args()
    if not 0 <= given.port < 65536:
        raise InputError(f"--port has to be between 0 and 65535. Received: {given.port}")
    try:
        import uvicorn

        from web import app
    except ModuleNotFoundError as error:
        raise InputError(f"serve.py needs {error.name}: pip install -r requirements-serve.txt") from None
    address = socket.socket(socket.AF_INET6 if ":" in given.host else socket.AF_INET)
    try:
        address.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")  # elsewhere it would share the port
        address.bind((given.host, given.port))  # before the seconds of loading; connections are taken after it
    except OSError as error:
        raise InputError(f"cannot listen on {given.host}:{given.port}: {error.strerror} (see --host and --port)") from None
    from model import runs

    path = given.run or runs.newest(Path("runs"), "model.keras", "train.py")
    if path.suffix != ".onnx":
        import_quietly("keras")
    from model.predict import Tagger

    tagger = Tagger.load(path)
    file = path if path.suffix == ".onnx" else path / "model.keras"
    hosts = [*LOOPBACK, "[::1]"] if given.host in LOOPBACK else ["*"]
    events = given.events or file.with_name("events.sqlite")
    application = app.build(tagger, app.version_of(tagger, file), events, hosts)
    if given.index:
        add_search(application, file, given.index)
    options = {"log_level": "error", "limit_concurrency": CONNECTIONS, "timeout_graceful_shutdown": 5}
    server = uvicorn.Server(uvicorn.Config(application, **options))
    say(f"{path} on http://{given.host}:{given.port}/ (Ctrl-C ends it); what people say of tags goes to {events}")
    with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end: what was waiting has been answered
        server.run(sockets=[address])


def add_search(application, file: Path, folder: Path) -> None:
    """Let the page find pictures of an index by a sentence."""
    from model.joint import JointSpace
    from model.picture_index import PictureIndex
    from web import search

    space = JointSpace(file)
    search.add_to(application, space, PictureIndex(folder, space.version))


if __name__ == "__main__":
    run(main)
