"""Polite HTTP: who we are, what a host allows, how often it is asked, and what to do when it refuses.

Every request of the suite to a board goes through `Client`: one pooled session, a name in the User-Agent, robots.txt of
each host, a shared rate, retries that wait longer each time, and a stop when a host keeps refusing.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

import requests
from requests.adapters import HTTPAdapter

from command import InputError

SITE = "e621.net"
SITE_RATE = 1.0  # requests/s to the site itself, the sustained rate that it asks for
MAX_RATE = 2.0  # requests/s to any host of the site: its limit; it publishes no other for its file host
THREADS = 8
TRIES = 8
BACKOFF_SECONDS = 0.5  # before the second try; twice as long before each further one
MAX_BACKOFF_SECONDS = 60.0
MAX_REFUSALS = 16  # posts in a row whose every try failed
TIMEOUT_SECONDS = (10, 60)  # to connect, and between two reads
CHUNK_BYTES = 2**18
PASSING_STATUSES = frozenset((408, 425, 429))  # and every 5xx: may go away by itself

Result = TypeVar("Result")


class Gone(Exception):
    """The host answered that there is no such file (404 or 410)."""


class Refused(OSError):
    """Every try failed; the message is the last reason, in a few words."""


class Trouble(Exception):
    """One try failed in a way that may pass.

    Args:
        reason: what was received, in a few words.
        by_host: whether the host refused or the connection broke; otherwise, the bytes that came were bad.
    """

    def __init__(self, reason: str, by_host: bool = True):
        super().__init__(reason)
        self.by_host = by_host


class Pacer:
    """A token bucket of one token, shared by threads: `wait` returns at most `rate` times a second.

    Args:
        rate: requests/s; 0 for no limit.
        clock: seconds, monotonic.
        sleep: waits that many seconds.
    """

    def __init__(
        self, rate: float, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = time.sleep
    ):
        self._interval = 1 / rate if rate else 0.0
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._next = clock()

    def wait(self) -> None:
        """Sleep until it is this caller's turn."""
        with self._lock:
            now = self._clock()
            # A turn that nobody took is kept, but no more than one: no burst after a pause.
            turn = max(self._next, now - self._interval)
            self._next = turn + self._interval
        if turn > now:
            self._sleep(turn - now)


class Client:
    """Requests to a board and its file host.

    Args:
        user: the user's name on the site, sent in the User-Agent; needed for the site itself.
        rate: requests/s to each host, 0 for no limit; None for `MAX_RATE` or, where that is less, what robots.txt asks for
            as Crawl-delay. The site itself is asked at `SITE_RATE` at most, and it and its other hosts no faster than their
            robots.txt asks, whatever is given here.

    Raises:
        InputError: the name cannot be sent.
    """

    def __init__(self, user: str, rate: float | None):
        if not user.isprintable() or not user.isascii():
            raise InputError(f"--user must be plain letters, digits and signs, received {user!r}")
        self._user, self._rate = user, rate
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"e6tag/1.0 (by {user} on e621)" if user else "e6tag/1.0"
        self._session.headers["Accept-Encoding"] = "identity"  # pictures and .gz files are compressed already
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=THREADS))
        self._lock = threading.Lock()
        self._robots_lock = threading.Lock()
        self._pacers: dict[str, Pacer] = {}
        self._robots: dict[str, RobotFileParser] = {}
        self._refusals, self._stop = 0, ""

    def get(self, url: str, check: Callable[[bytes], str] = lambda _: "", max_bytes: int = 2**28) -> bytes:
        """The body of a URL.

        Args:
            url: what to read.
            check: says what is wrong with a body, in a few words; empty where nothing is. Bad bodies are asked for again.
            max_bytes: a larger body is an error.

        Raises:
            Gone: the host has no such file.
            Refused: every try failed.
            InputError: the host disallows it, needs a user's name, or has refused many requests in a row.
        """

        def once() -> bytes:
            with self.send(url) as response:
                data = _body(response, max_bytes)
            if problem := check(data):
                raise Trouble(problem, by_host=False)
            return data

        return self.retry(once)

    def send(self, url: str, headers: dict[str, str] | None = None) -> requests.Response:
        """One polite request; the body is still to be read.

        Raises:
            Trouble: refused, or the connection broke: may pass.
            Gone, Refused, InputError: see `get`.
        """
        self._admit(url)
        host = urlsplit(url).netloc
        if host not in self._pacers:
            rate = self.rate_of(url)
            with self._lock:
                self._pacers.setdefault(host, Pacer(rate)).wait()  # the turn that robots.txt took
        self._pacers[host].wait()
        return self._send(url, headers)

    def rate_of(self, url: str) -> float:
        """Requests/s at which a URL's host is asked, 0 for no limit."""
        host = urlsplit(url).hostname or ""
        limits = [MAX_RATE if self._rate is None else self._rate]
        if host == SITE:
            limits.append(SITE_RATE)
        delay = self._rules(url).crawl_delay(self._session.headers["User-Agent"])
        if delay and (self._rate is None or _is_site(host)):
            limits.append(1 / float(delay))
        return min(limits)

    def retry(self, once: Callable[[], Result]) -> Result:
        """Call a function until it raises no `Trouble`, waiting longer each time.

        Raises:
            Refused: it always did.
            InputError: as many calls in a row were refused as no working board refuses.
        """
        for number in range(TRIES):
            if self._stop:
                raise InputError(self._stop)
            try:
                result = once()
            except Trouble as error:
                trouble = error
            except Gone:
                self._count(refused=False)
                raise
            else:
                self._count(refused=False)
                return result
            if number + 1 < TRIES:
                time.sleep(_backoff_seconds(number))
        if trouble.by_host:
            self._count(refused=True, reason=str(trouble))
        raise Refused(f"{trouble} ({TRIES} tries)")

    def _count(self, refused: bool, reason: str = "") -> None:
        with self._lock:
            self._refusals = self._refusals + 1 if refused else 0
            if self._refusals >= MAX_REFUSALS and not self._stop:
                self._stop = (
                    f"the board refused {self._refusals} requests in a row, the last with: {reason}; try again later"
                )
        if self._stop:
            raise InputError(self._stop)

    def _admit(self, url: str) -> None:
        """Stop before a request that must not be made."""
        host = urlsplit(url).hostname or ""
        if _is_site(host) and not self._user:
            raise InputError(
                f"{host} wants to know who asks: give --user NAME, your name there, or set E6TAG_USER "
                "(--board openmoji needs no account)"
            )
        if _is_site(host) and self._rate is not None and not 0 < self._rate <= MAX_RATE:
            raise InputError(
                f"--rate must be over 0 and at most {MAX_RATE:g} requests/s for {host}, received {self._rate:g}"
            )
        if not self._rules(url).can_fetch(self._session.headers["User-Agent"], url):
            raise InputError(f"{host} disallows {urlsplit(url).path} in its robots.txt, so it was not requested")

    def _rules(self, url: str) -> RobotFileParser:
        """The robots.txt of a URL's host, read once; RFC 9309 says what its absence means."""
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        with self._robots_lock:
            if origin not in self._robots:
                rules = RobotFileParser()
                try:
                    rules.parse(self.retry(lambda: self._robots_lines(f"{origin}/robots.txt")))
                except Gone:
                    rules.parse([])
                except Refused as error:
                    raise InputError(f"{origin}/robots.txt could not be read: {error}; try again later") from None
                self._robots[origin] = rules
            return self._robots[origin]

    def _robots_lines(self, url: str) -> list[str]:
        with self._send(url, None) as response:
            return _body(response, max_bytes=2**19).decode("utf-8", "replace").splitlines()

    def _send(self, url: str, headers: dict[str, str] | None) -> requests.Response:
        try:
            # Not redirected: where it leads may be another host, with rules of its own, or a page.
            response = self._session.get(url, headers=headers, timeout=TIMEOUT_SECONDS, stream=True, allow_redirects=False)
        except requests.RequestException as error:
            raise Trouble(_broken(error)) from error
        status, kind = response.status_code, response.headers.get("Content-Type", "")
        if status in (200, 206, 416) and not kind.startswith("text/html"):
            return response
        response.close()
        if status in (404, 410):
            raise Gone(f"{status} {response.reason}")
        if status >= 500 or status in PASSING_STATUSES:
            raise Trouble(f"{status} {response.reason}")
        if status < 300:
            raise Trouble("a web page")
        if status < 400:
            raise Refused(f"redirected to {response.headers.get('Location', 'nowhere')}")
        self._count(refused=True, reason=f"{status} {response.reason}")
        raise Refused(f"{status} {response.reason}")


def _body(response: requests.Response, max_bytes: int) -> bytes:
    """The body, whole.

    Raises:
        Trouble: the connection broke before its end.
        Refused: it is larger than `max_bytes`.
    """
    chunks, size = [], 0
    try:
        for chunk in response.iter_content(CHUNK_BYTES):
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                raise Refused(f"more than {max_bytes:,} bytes")
    except requests.RequestException as error:
        raise Trouble(_broken(error)) from error
    data = b"".join(chunks)
    if data[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise Trouble("a web page")
    # Older urllib3 takes a body that ends early for a whole one.
    if size < int(response.headers.get("Content-Length", 0)):
        raise Trouble(f"{size:,} of {int(response.headers['Content-Length']):,} bytes")
    return data


def _backoff_seconds(number: int) -> float:
    """The wait after failed try `number`, from 0; random, so that threads do not come back all at once."""
    return min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2**number) * random.uniform(0.5, 1.0)


def _broken(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke in the middle of a file"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return f"{type(error).__name__}: {error}"


def _is_site(host: str) -> bool:
    return host == SITE or host.endswith(f".{SITE}")
