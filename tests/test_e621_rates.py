"""How often, and how long after a refusal, the board e621 is asked."""

import threading
import time

import pytest
from small_board import WITHOUT_SAMPLE
from test_e621 import make, read_all

from common.errors import InputError
from dataset.boards import http_client


def test_robots_txt_stops_before_any_picture(board, tmp_path):
    board.robots = "User-agent: *\nDisallow: /data/\n"
    with pytest.raises(InputError, match=r"disallows /data/db_export/tags.csv.gz in its robots\.txt"):
        make(board, tmp_path / "data")
    assert board.requests == ["/robots.txt", "/db_exports.json"]


def test_a_board_that_keeps_refusing_stops_the_run_which_can_be_resumed(board, tmp_path):
    make(board, tmp_path / "clean")
    for path in [*board.files, board.sample_path(board.md5_of(WITHOUT_SAMPLE), "webp")]:
        board.faults[path] = ["503"] * 999
    board.requests.clear()
    with pytest.raises(InputError, match="refused 16 requests in a row, the last with: 503"):
        make(board, tmp_path / "data")
    pictures = [path for path in board.requests if "db_export" not in path]
    assert len(pictures) <= http_client.TRIES * (http_client.MAX_REFUSALS + http_client.THREADS)
    board.faults.clear()
    make(board, tmp_path / "data")
    assert read_all(tmp_path / "data") == read_all(tmp_path / "clean")


def test_a_pacer_spaces_turns_over_threads():
    now, slept, lock = [0.0], [], threading.Lock()

    def sleep(seconds: float) -> None:
        with lock:
            slept.append(seconds)

    pacer = http_client.Pacer(4, clock=lambda: now[0], sleep=sleep)
    threads = [threading.Thread(target=pacer.wait) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(slept) == [0.25 * turn for turn in range(1, 9)]
    now[0] = 1000.0
    slept.clear()
    for _ in range(3):
        pacer.wait()
    assert slept == [0.25], "one turn is kept over a pause, no more"


def test_requests_keep_the_rate(board, tmp_path):
    started = time.monotonic()
    make(board, tmp_path / "data", rate=40)
    assert len(board.requests) / 40 <= time.monotonic() - started + 0.1


def test_a_hosts_crawl_delay_is_kept_unless_a_rate_is_given(board):
    board.robots = "User-agent: *\nCrawl-delay: 4\n"
    assert http_client.Client("tester", None).rate_of(board.url) == 0.25
    assert http_client.Client("tester", 50).rate_of(board.url) == 50
    board.robots = "User-agent: *\nCrawl-delay: 0.1\n"
    assert http_client.Client("tester", None).rate_of(board.url) == http_client.MAX_RATE


def test_the_sites_crawl_delay_is_kept_whatever_rate_is_given(monkeypatch):
    monkeypatch.setattr(http_client.Client, "_robots_lines", lambda *_: ["User-agent: *", "Crawl-delay: 4"])
    assert http_client.Client("tester", 2).rate_of("https://static1.e621.net/data/a.png") == 0.25
    monkeypatch.setattr(http_client.Client, "_robots_lines", lambda *_: [])
    assert http_client.Client("tester", 2).rate_of("https://static1.e621.net/data/a.png") == 2
    assert http_client.Client("tester", 2).rate_of("https://e621.net/db_exports.json") == http_client.SITE_RATE
