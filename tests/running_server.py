"""A server for tests, started and stopped as a user does."""

import contextlib
import signal
import socket
import subprocess
import sys
import time

import requests
from conftest import ROOT


@contextlib.contextmanager
def serving(run, folder, *options):
    """The address of a server, started as a user does; stopped as a user does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, ROOT / "serve.py", "--run", run, "--port", port, "--events", folder / "events.sqlite"]
    with (folder / "messages").open("w+") as messages:
        process = subprocess.Popen([*map(str, [*command, *options])], stderr=messages)
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(3000):  # a busy machine takes minutes to import Keras
                with contextlib.suppress(requests.RequestException):
                    requests.get(f"{address}/healthz", timeout=5)
                    break
                assert process.poll() is None, (folder / "messages").read_text()
                time.sleep(0.1)
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(30)
    assert code == 0 and "Traceback" not in (folder / "messages").read_text()
