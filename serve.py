"""Serve a run: a web page that tags pictures, the HTTP interface of Danbooru's autotagger, and metrics."""

import contextlib
from pathlib import Path

from command import Parser, run
from common.errors import InputError, say
from model import onnx_session
from web.listener import LOOPBACK, listen

MAX_CONNECTIONS = 256  # more are answered with 503


def main() -> None:
    """Load the run, and answer requests until Ctrl-C."""
    options = parse_arguments()
    try:
        import uvicorn

        from web import app
    except ModuleNotFoundError as error:
        raise InputError(f"serve.py needs {error.name}: pip install -r requirements-serve.txt") from None
    listener = listen(options.host, options.port)  # before the run is loaded, so that a taken port is reported at once
    from inference.added_tags import with_added_tags
    from inference.tagger import Tagger, model_file
    from model import run_folder

    path = options.run or run_folder.newest(Path("runs"), "model.keras", "train.py")
    tagger = with_added_tags(Tagger.open(path, options.device, onnx=True), options.added_tags)
    file = model_file(path)
    hosts = [*LOOPBACK, "[::1]"] if options.host in LOOPBACK else ["*"]
    events = options.events or file.with_name("events.sqlite")
    application = app.build(tagger, app.version_of(tagger, [file, *options.added_tags]), events, hosts)
    if options.index:
        add_search(application, path, options)
    config = uvicorn.Config(application, log_level="error", limit_concurrency=MAX_CONNECTIONS, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    say(f"{path} on http://{options.host}:{options.port}/ (Ctrl-C ends it); marks of tags are stored in {events}")
    with contextlib.suppress(KeyboardInterrupt):  # the usual end; the requests that were waiting have been answered
        server.run(sockets=[listener])


def parse_arguments():
    """Return the options of the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--run", type=Path, help="run folder, or an exported model.onnx (default: the newest under runs/)")
    parser.add_argument("--added-tags", nargs="+", type=Path, metavar="FILE", default=[], help="files of train.py --teach")
    parser.add_argument("--device", choices=onnx_session.PROVIDERS, help="what computes (default: a GPU, else the CPU)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=5000, help="default: 5000")
    parser.add_argument("--events", type=Path, help="SQLite file for users' marks (default: events.sqlite beside the model)")
    parser.add_argument("--index", type=Path, help="index made by search.py --index; adds a search box to the page")
    options = parser.parse_args()
    if not 0 <= options.port < 65536:
        raise InputError(f"--port has to be between 0 and 65535. Received: {options.port}")
    return options


def add_search(application, path: Path, options) -> None:
    """Add the search box for an index to the page."""
    from retrieval.joint_space import JointSpace
    from retrieval.picture_index import PictureIndex
    from web.search_routes import add_search_routes

    space = JointSpace(path, options.device)
    add_search_routes(application, space, PictureIndex(options.index, space.version))


if __name__ == "__main__":
    run(main)
