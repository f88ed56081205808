"""The socket of a server, bound before anything slow is loaded."""

import os
import socket

from common.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address; the server accepts connections later.

    Raises:
        InputError: the address is taken, or is none of this computer's.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")  # on Windows it would share the port
        listener.bind((host, port))
    except OSError as error:
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror} (see --help for another port)") from None
    return listener
