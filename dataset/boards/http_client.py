"""Polite HTTP requests: User-Agent, robots.txt, rate limits, retries with backoff.

Every request to a board goes through `Client`. It has one pooled session, sends the user's name in the User-Agent, obeys
each host's robots.txt, limits the rate of all threads together, waits longer before each retry, and stops when a host
keeps refusing.
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

from common.errors import InputError
from common.version import VERSION

SITE = "e621.net"
SITE_RATE = 1.0  # requests/s to the site itself: the sustained rate that it asks for
MAX_RATE = 2.0  # requests/s to any host of the site: its published limit; there is none for its file host
THREADS = 8
TRIES = 8
BACKOFF_SECONDS = 0.5  # before the second try; doubled before each further one
MAX_BACKOFF_SECONDS = 60.0
MAX_REFUSALS = 16  # requests in a row of which every try was refused
TIMEOUT_SECONDS = (10, 60)  # for the connection, and between two reads
CHUNK_BYTES = 2**18
PASSING_STATUSES = frozenset((408, 425, 429))  # temporary, as every 5xx is

Result = TypeVar("Result")


class Gone(Exception):
    """The host answered that the file does not exist (404 or 410)."""


class RequestFailed(OSError):
    """A request failed for good; the message is the reason of the last try, in a few words."""


class TransientError(Exception):
    """One try failed for a reason that may be temporary.

    Args:
        reason: what was received, in a few words.
        by_host: True if the host refused or the connection broke, False if the received bytes were bad.
    """

    def __init__(self, reason: str, by_host: bool = True):
        super().__init__(reason)
        self.by_host = by_host


class Pacer:
    """A token bucket of one token, shared by threads: `wait` returns at most `rate` times a second.

    Args:
        rate: requests/s; 0: no limit.
        clock: returns monotonic seconds.
        sleep: waits a number of seconds.
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
            # At most one unused turn is kept, so that no burst follows a pause.
            turn = max(self._next, now - self._interval)
            self._next = turn + self._interval
        if turn > now:
            self._sleep(turn - now)


class Client:
    """An HTTP client for a board and its file host; thread-safe.

    Args:
        user: the user's name on the site, sent in the User-Agent; required for hosts of the site.
        rate: requests/s to each host; 0: no limit; None: `MAX_RATE`, or the Crawl-delay of robots.txt if that is slower.
            Whatever the rate, the site itself gets at most `SITE_RATE`, and all of its hosts at most what their robots.txt
            asks for.

    Raises:
        InputError: the name contains characters that cannot be sent.
    """

    def __init__(self, user: str, rate: float | None):
        if not user.isprintable() or not user.isascii():
            raise InputError(f"--user must be plain letters, digits and signs, received {user!r}")
        self._user, self._rate = user, rate
        self._session = requests.Session()
        self._user_agent = f"e6tag/{VERSION} (by {user} on e621)" if user else f"e6tag/{VERSION}"
        self._session.headers["User-Agent"] = self._user_agent
        self._session.headers["Accept-Encoding"] = "identity"  # pictures and .gz files are compressed already
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=THREADS))
        self._lock = threading.Lock()
        self._robots_lock = threading.Lock()
        self._pacers: dict[str, Pacer] = {}
        self._robots: dict[str, RobotFileParser] = {}
        self._refusals, self._stop = 0, ""

    def get(self, url: str, check: Callable[[bytes], str] = lambda _: "", max_bytes: int = 2**28) -> bytes:
        """Return the body of a URL.

        Args:
            url: the address.
            check: returns what is wrong with a body, in a few words, or an empty string; a bad body is requested again.
            max_bytes: a larger body is an error.

        Raises:
            Gone: the host does not have the file.
            RequestFailed: every try failed.
            InputError: robots.txt disallows the URL, the host needs a user's name, or it has refused many requests in a row.
        """

        def once() -> bytes:
            with self.send(url) as response:
                data = _body(response, max_bytes)
            if problem := check(data):
                raise TransientError(problem, by_host=False)
            return data

        return self.retry(once)

    def send(self, url: str, headers: dict[str, str] | None = None) -> requests.Response:
        """Send one request when the rate allows it, and return the response, whose body is not read yet.

        Raises:
            TransientError: the host refused, or the connection broke.
            Gone, RequestFailed, InputError: see `get`.
        """
        self._admit(url)
        host = urlsplit(url).netloc
        if host not in self._pacers:
            rate = self.rate_of(url)
            with self._lock:
                self._pacers.setdefault(host, Pacer(rate)).wait()  # counts the request for robots.txt
        self._pacers[host].wait()
        return self._send(url, headers)

    def rate_of(self, url: str) -> float:
        """Return the rate limit of a URL's host in requests/s; 0: no limit."""
        host = urlsplit(url).hostname or ""
        limits = [MAX_RATE if self._rate is None else self._rate]
        if host == SITE:
            limits.append(SITE_RATE)
        delay = self._rules(url).crawl_delay(self._user_agent)
        if delay and (self._rate is None or _is_site(host)):
            limits.append(1 / float(delay))
        return min(limits)

    def retry(self, once: Callable[[], Result]) -> Result:
        """Call a function until it raises no `TransientError`, with longer waits each time.

        Raises:
            RequestFailed: it raised one at every try.
            InputError: `MAX_REFUSALS` requests in a row were refused, so the board seems to be down.
        """
        for number in range(TRIES):
            if self._stop:
                raise InputError(self._stop)
            try:
                result = once()
            except TransientError as error:
                failure = error
            except Gone:
                self._count(refused=False)
                raise
            else:
                self._count(refused=False)
                return result
            if number + 1 < TRIES:
                time.sleep(_backoff_seconds(number))
        if failure.by_host:
            self._count(refused=True, reason=str(failure))
        raise RequestFailed(f"{failure} ({TRIES} tries)")

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
        """Raise an InputError if a request must not be sent."""
        host = urlsplit(url).hostname or ""
        if _is_site(host) and not self._user:
            raise InputError(
                f"{host} requires the name of the user: give --user NAME, your name on the site, or set E6TAG_USER "
                "(--board openmoji needs no account)"
            )
        if _is_site(host) and self._rate is not None and not 0 < self._rate <= MAX_RATE:
            raise InputError(
                f"--rate must be over 0 and at most {MAX_RATE:g} requests/s for {host}, received {self._rate:g}"
            )
        if not self._rules(url).can_fetch(self._user_agent, url):
            raise InputError(f"{host} disallows {urlsplit(url).path} in its robots.txt, so it was not requested")

    def _rules(self, url: str) -> RobotFileParser:
        """The robots.txt of a URL's host, read once; a missing one allows everything (RFC 9309)."""
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        with self._robots_lock:
            if origin not in self._robots:
                rules = RobotFileParser()
                try:
                    rules.parse(self.retry(lambda: self._robots_lines(f"{origin}/robots.txt")))
                except Gone:
                    rules.parse([])
                except RequestFailed as error:
                    raise InputError(f"{origin}/robots.txt could not be read: {error}; try again later") from None
                self._robots[origin] = rules
            return self._robots[origin]

    def _robots_lines(self, url: str) -> list[str]:
        with self._send(url, None) as response:
            return _body(response, max_bytes=2**19).decode("utf-8", "replace").splitlines()

    def _send(self, url: str, headers: dict[str, str] | None) -> requests.Response:
        try:
            # Redirects are not followed: they may lead to another host with rules of its own, or to a web page.
            response = self._session.get(url, headers=headers, timeout=TIMEOUT_SECONDS, stream=True, allow_redirects=False)
        except requests.RequestException as error:
            raise TransientError(_describe(error)) from error
        status, kind = response.status_code, response.headers.get("Content-Type", "")
        if status in (200, 206, 416) and not kind.startswith("text/html"):
            return response
        response.close()
        if status in (404, 410):
            raise Gone(f"{status} {response.reason}")
        if status >= 500 or status in PASSING_STATUSES:
            raise TransientError(f"{status} {response.reason}")
        if status < 300:
            raise TransientError("a web page")
        if status < 400:
            raise RequestFailed(f"redirected to {response.headers.get('Location', 'nowhere')}")
        self._count(refused=True, reason=f"{status} {response.reason}")
        raise RequestFailed(f"{status} {response.reason}")


def _body(response: requests.Response, max_bytes: int) -> bytes:
    """Read a whole body of at most `max_bytes`."""
    chunks, size = [], 0
    try:
        for chunk in response.iter_content(CHUNK_BYTES):
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                raise RequestFailed(f"more than {max_bytes:,} bytes")
    except requests.RequestException as error:
        raise TransientError(_describe(error)) from error
    data = b"".join(chunks)
    if data[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise TransientError("a web page")
    # Older versions of urllib3 do not notice that a body ends early.
    if size < int(response.headers.get("Content-Length", 0)):
        raise TransientError(f"{size:,} of {int(response.headers['Content-Length']):,} bytes")
    return data


def _backoff_seconds(number: int) -> float:
    """The wait after try `number`, from 0; random, so that threads do not retry at the same moment."""
    return min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2**number) * random.uniform(0.5, 1.0)


def _describe(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke in the middle of a file"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return f"{type(error).__name__}: {error}"


def _is_site(host: str) -> bool:
    return host == SITE or host.endswith(f".{SITE}")
