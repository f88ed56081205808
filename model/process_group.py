"""Several processes that train one network, on one machine or on several: how they join, share values and end.

The processes run the same program under JAX, each with its own part of every batch. JAX computes gradients, normalisation
and loss over the whole batch. The first process, number 0, writes the run.

JAX itself notices only after minutes that a process has ended, and then aborts the others. Each process therefore keeps a
connection to the first one, which the system closes when a process ends, however it ends.
"""

import contextlib
import hashlib
import io
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError  # the built-in one only from Python 3.11 on
from typing import Any

import numpy as np

from common.errors import InputError
from common.processes import import_quietly, no_native_messages

AUTO = "auto"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
ARRIVAL_SECONDS = 300  # within which all processes have to be started
GRACE_SECONDS = 10.0  # within which a lost connection explains an error of the network between the processes
END = "end"  # the message that nothing is left to do


class Group:
    """A number of processes, and the connections between the first one and the others.

    Attributes:
        index: number of this process, from 0.
        count: number of processes.
    """

    def __init__(self, index: int = 0, count: int = 1):
        self.index, self.count = index, count
        self._connections: dict[int, socket.socket] = {}  # number of another process ▶ connection with it
        self._watches: list[threading.Thread] = []  # one for each connection
        self._ended = threading.Event()  # the processes part, so that a connection may end
        self._leaving = threading.Lock()

    def connect(self, host: str) -> None:
        """Connect the first process with the others, and watch the connections."""
        secret = np.frombuffer(secrets.token_bytes(16), np.int32)
        if self.index == 0:
            with socket.create_server(("127.0.0.1" if host in LOOPBACK else "", 0)) as server:
                broadcast(np.array([server.getsockname()[1], *secret], np.int32))
                server.settimeout(ARRIVAL_SECONDS)
                while len(self._connections) < self.count - 1:
                    connection = server.accept()[0]
                    with connection.makefile("rb") as received:
                        number, of_process = int.from_bytes(received.read(4), "big"), received.read(16) == secret.tobytes()
                    if of_process:  # and not of another program that tries all ports
                        self._connections[number] = connection
        else:
            port, *secret = broadcast(np.zeros(1 + len(secret), np.int32))
            connection = socket.create_connection((host.strip("[]"), int(port)), timeout=ARRIVAL_SECONDS)
            connection.settimeout(None)
            connection.sendall(self.index.to_bytes(4, "big") + np.array(secret, np.int32).tobytes())
            self._connections[0] = connection
        for number, connection in self._connections.items():
            self._watches.append(threading.Thread(target=self._watch, args=(number, connection), daemon=True))
            self._watches[-1].start()

    def _watch(self, number: int, connection: socket.socket) -> None:
        """Read the messages of another process, and end this process when the other one has ended too early."""
        name = f"process {number} of {self.count}, on {connection.getpeername()[0]},"
        with contextlib.suppress(OSError), connection.makefile(encoding="utf-8") as lines:
            for line in lines:
                if line.strip() == END:
                    self._ended.set()
                elif not self._ended.is_set():
                    self._leave(line.strip())
        if not self._ended.is_set():
            self._leave(f"{name} is gone: run the same command for all processes again, which continues the run")

    def _leave(self, reason: str) -> None:
        """End this process, because the group is no longer complete."""
        with self._leaving:  # until the process has ended: one reason is enough
            self._part(reason)
            print(f"error: {reason}", file=sys.__stderr__, flush=True)  # `together` may have silenced the usual one
            os._exit(1)

    def _part(self, message: str) -> None:
        """Tell the other processes why this one ends. JAX aborts those that are left when the first one is gone."""
        self._ended.set()
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                connection.sendall(f"{' '.join(message.split())}\n".encode())
        if self.index == 0:
            limit = time.monotonic() + GRACE_SECONDS
            for watch in self._watches:
                if watch is not threading.current_thread():
                    watch.join(max(0.0, limit - time.monotonic()))

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Let the processes end together: when the block ends, the others wait until it has ended in the first one.

        If the block raises in one process, all end, with its message. Only the first one shows messages and progress.
        """
        try:
            with contextlib.redirect_stderr(io.StringIO() if self.index else sys.stderr):
                yield
            self.end()
        except BaseException as error:
            expected = isinstance(error, InputError | OSError | KeyboardInterrupt)
            if self.count > 1 and not expected:
                self._ended.wait(GRACE_SECONDS)  # one process may be gone: then `_watch` says which
            with self._leaving:
                if not self._ended.is_set():
                    self._part(f"process {self.index} of {self.count} ended: {error or 'interrupted'}")
            raise

    def end(self) -> None:
        """End what the processes do together. The others wait for the first one."""
        if self.index:
            self._ended.wait()
        self._part(END)


group = Group()  # the only process, until `join` is called


def join(address: str, count: int | None, index: int | None, devices: int) -> None:
    """Join the processes that train a network together. It has to be called before JAX computes anything.

    Args:
        address: host and port at which the first process listens; `auto`: JAX takes all from the environment variables of
            Slurm or Open MPI.
        count: number of processes; None: as the environment says.
        index: number of this process, from 0; None: as the environment says.
        devices: number of devices of each process that share its part of a batch.

    Raises:
        InputError: the backend is not JAX, or the arguments are wrong, or a process does not arrive in time.
    """
    global group
    if os.environ.get("KERAS_BACKEND") != "jax":
        raise InputError("--processes needs JAX: pip install jax, and KERAS_BACKEND=jax python train.py …")
    host, _, port = address.rpartition(":")
    if address != AUTO and not (host and port.isdigit() and 0 < int(port) < 2**16):
        raise InputError(f"--processes needs the host and the port of the first process, or {AUTO}. Received: {address}")
    if address != AUTO:
        try:
            socket.getaddrinfo(host.strip("[]"), port)
        except OSError as error:
            raise InputError(f"--processes {address}: {host} is not known on this machine: {error.strerror}") from None
    if count is not None and index is not None and not 0 <= index < count:
        raise InputError(f"--process-index has to be at least 0 and under --process-count, {count}. Received: {index}")
    import_quietly("jax")
    import jax
    from jax._src import distributed  # the only place that tells the address which JAX has found

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    waiting = ThreadPoolExecutor(1).submit(  # in another thread, so that Ctrl-C is heard
        jax.distributed.initialize,
        None if address == AUTO else address,
        count,
        index,
        coordinator_bind_address=address if host in LOOPBACK else None,
        initialization_timeout=2 * ARRIVAL_SECONDS,  # at which JAX would abort with a stack trace
    )
    try:
        waiting.result(ARRIVAL_SECONDS)
    except FutureTimeoutError:
        late = f"not all processes arrived within {ARRIVAL_SECONDS // 60} minutes"
        raise InputError(f"--processes {address}: {late}: start all, with this address, which has to be open") from None
    except ValueError as error:
        advice = f"Give {'HOST:PORT instead of auto, ' if address == AUTO else ''}--process-count and --process-index"
        raise InputError(f"--processes {address}: {error} {advice}") from None
    except RuntimeError as error:
        raise InputError(f"--processes {address}: {error}") from None
    if jax.local_device_count() < devices:
        raise InputError(f"--devices {devices}: JAX sees {jax.local_device_count()} in process {jax.process_index()}")
    group = Group(jax.process_index(), jax.process_count())
    import_quietly("keras")  # which takes seconds, in which no message of `Group` would be seen
    try:
        with no_native_messages((1, 2)):
            group.connect(distributed.global_state.coordinator_address.rpartition(":")[0])
    except (RuntimeError, OSError) as error:
        advice = f"its own name, here {socket.gethostname()}, has to lead each machine to the address where others reach it"
        raise InputError(f"the processes do not reach each other: {advice}; see /etc/hosts: {error}") from None


def broadcast(values: Any) -> Any:
    """Return the first process' values in every process.

    Args:
        values: an array, or a dictionary or list of arrays, of the same shapes in every process.
    """
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(values) if group.count > 1 else values


def gather(values: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Return the values of each process, in the order of the processes.

    Args:
        values: arrays, of the same shapes in every process.
    """
    if group.count == 1:
        return [values]
    from jax.experimental import multihost_utils

    gathered = multihost_utils.process_allgather(values)  # each (processes, …)
    return [{name: array[index] for name, array in gathered.items()} for index in range(group.count)]


def check_same(facts: dict[str, str]) -> None:
    """Check that facts are the same in all processes.

    Args:
        facts: name ▶ value, for each fact.

    Raises:
        InputError: a fact is another one than in the first process; in every process, with the same message.
    """
    digests = {name: np.frombuffer(hashlib.md5(value.encode()).digest(), np.int32) for name, value in facts.items()}
    gathered = gather(digests)
    for index, others in enumerate(gathered):
        if different := [name for name in facts if (others[name] != gathered[0][name]).any()]:
            which = " and ".join(different)
            raise InputError(f"process {index} has other {which} than process 0: give all processes the same ones")


class Vote:
    """Whether any process asks for something.

    The answer is that of the call before, so that no process waits for the others. All processes call it equally often, and
    get the same answers.
    """

    def __init__(self) -> None:
        self._before: Any = None
        if group.count > 1:
            import jax
            from jax.sharding import Mesh, NamedSharding, PartitionSpec

            mesh = Mesh(np.array(jax.devices()).reshape(group.count, -1), ("processes", "devices"))
            self._of_each = NamedSharding(mesh, PartitionSpec("processes"))
            self._highest = jax.jit(jax.numpy.max, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def __call__(self, asks: bool) -> bool:
        """Pass on what this process asks for, and return whether any process asked for it in the call before."""
        if group.count == 1:
            return asks
        import jax

        flags = jax.make_array_from_process_local_data(self._of_each, np.array([asks], np.int32))  # (processes,)
        before, self._before = self._before, self._highest(flags)
        return before is not None and bool(np.asarray(before))
