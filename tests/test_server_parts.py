"""Parts of the server without a server: queue, limits, the file of events."""

import asyncio
import contextlib
import gc
import io
import multiprocessing
import sys
import threading
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from fastapi import HTTPException
from PIL import Image

from common.errors import InputError
from dataset.images import ImageError
from dataset.records import NUMBER, RATING
from inference.tagger import Tagger
from labels.feedback import Events
from web.batcher import Batcher
from web.prometheus import Metrics
from web.readers import ReaderProcess, Readers
from web.service import Limits, Service


def test_pictures_for_tags_and_for_heat_count_alike(emoji_onnx, emoji_pictures):
    service = Service(Tagger.open(emoji_onnx), Limits(waiting=0), Metrics("model"))
    picture = ("a.jpg", emoji_pictures[0].read_bytes())
    for work in (service.tag([picture]), service.heat(*picture, "tag")):
        with pytest.raises(HTTPException) as refused:
            asyncio.run(work)
        assert refused.value.status_code == 503
    service.close()


def test_numbers_are_no_tags(emoji_onnx):
    tagger = Tagger.open(emoji_onnx)
    first, second, *others = tagger.run.tags
    tags = [replace(first, category=NUMBER), replace(second, implies=(first.name,)), *others]
    service = Service(replace(tagger, run=replace(tagger.run, tags=tags)), Limits(), Metrics("model"))
    probabilities = np.linspace(1, 0.5, len(tags))  # the number has the highest value, and a tag implies it
    assert service.tags == tags[1:] and list(service.choose(probabilities, 0.1, 50)) == [tag.name for tag in tags[1:]]
    assert list(service.choose(probabilities, 0.1, 2)) == [tag.name for tag in tags[1:3]]  # the limit counts tags alone
    assert service.choose(probabilities, 0.1, -1) == {}
    service.close()


def test_the_best_rating_is_named_as_danbooru_names_it(emoji_onnx):
    tagger = Tagger.open(emoji_onnx)
    ratings = zip(tagger.run.tags, ("rating:safe", "rating:questionable", "rating:explicit"), strict=False)
    tags = [replace(tag, name=name, category=RATING) for tag, name in ratings] + tagger.run.tags[3:]
    service = Service(replace(tagger, run=replace(tagger.run, tags=tags)), Limits(), Metrics("model"))
    assert [tag.name for tag in service.tags[:4]] == ["rating:g", "rating:q", "rating:e", tags[3].name]
    probabilities = np.full(len(tags), 0.05)
    probabilities[2] = 0.6
    assert service.choose(probabilities, 0.9, 50) == {"rating:e": 0.6}  # one is given, whatever the threshold
    assert service.threshold(service.tags[2]) == 0 and service.threshold(service.tags[3]) == tagger.thresholds[3]
    service.close()


def test_a_refused_file_is_closed_at_once(emoji_onnx):
    service = Service(Tagger.open(emoji_onnx), Limits(), Metrics("model"))
    file = bytes(999)
    before = sys.getrefcount(file)

    async def ask() -> None:
        with contextlib.suppress(HTTPException):
            await service.tag([("a.png", file)])

    gc.disable()
    try:
        asyncio.run(ask())
        service.close()
        assert sys.getrefcount(file) == before
    finally:
        gc.enable()


def test_what_is_no_events_file_is_named_and_left_as_it_is(tmp_path):
    garbage = tmp_path / "notes.txt"
    garbage.write_text("no database" * 100)
    for path in (garbage, tmp_path, tmp_path / "nowhere" / "events.sqlite"):
        with pytest.raises(InputError, match=f"{path}: .*--events"):
            Events(path, "model")
    assert garbage.read_text() == "no database" * 100


def test_a_batch_is_what_was_waiting():
    sizes, started, gate = [], threading.Event(), threading.Event()

    def network(pixels):
        started.set()
        gate.wait()
        return pixels.reshape(len(pixels), -1)[:, :1].astype(float)

    async def ask() -> list:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(6)]
        batcher = Batcher(network, 4, sizes.append)
        frames = [np.full((2, 2, 3), shade, np.uint8) for shade in range(8)]
        batcher.submit([frames[7]], futures[0])
        await loop.run_in_executor(None, started.wait)  # it is in the network, alone
        for index, future in enumerate(futures[1:], 1):
            batcher.submit([frames[index], frames[0]], future)  # two frames each, so that two pictures fill a batch
        gate.set()
        await loop.run_in_executor(None, batcher.close)  # what is waiting is finished first
        return [row.tolist() for row in await asyncio.gather(*futures)]

    assert asyncio.run(ask()) == [[7], [1], [2], [3], [4], [5]] and sizes == [1, 4, 4, 2]


def test_an_error_of_the_network_reaches_all_waiting_requests():
    async def ask():
        batcher, future = Batcher(lambda pixels: 1 / 0, 4, print), asyncio.get_running_loop().create_future()
        batcher.submit([np.zeros((2, 2, 3), np.uint8)], future)
        try:
            await future
        finally:
            batcher.close()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(ask())


def read_all(readers: Readers, files: list[bytes]) -> list:
    """The frames of each file, or what was raised, in order."""
    answers: list[Future] = [Future() for _ in files]
    for answer, data in zip(answers, files, strict=True):
        readers.submit(data, answer.set_result)
    return [answer.result(60) for answer in answers]


def test_processes_read_the_pixels_that_the_tagger_reads(emoji_onnx, emoji_pictures):
    tagger, files = Tagger.open(emoji_onnx), [path.read_bytes() for path in emoji_pictures[:40]]
    readers = Readers(tagger.run, 1)
    answers = read_all(readers, [*files, b"nonsense"])
    for data, [pixels] in zip(files, answers, strict=False):
        assert np.array_equal(pixels, tagger.pixels(data))
    assert isinstance(answers[-1], ImageError) and str(answers[-1]).startswith("text, not a picture")
    readers.close()


def test_a_large_picture_is_read_by_the_server_itself(emoji_onnx, monkeypatch):
    run, large = Tagger.open(emoji_onnx).run, io.BytesIO()
    Image.new("1", (5000, 4000), 1).save(large, "PNG")
    process, own = ReaderProcess(run), []
    monkeypatch.setattr("web.readers._read", lambda run, data: own.append(data) or "read")
    assert process.read([large.getvalue()]) == ["read"] and own == [large.getvalue()]
    process.close()


def test_a_crash_of_a_decoder_costs_one_picture_and_not_the_server(emoji_onnx, emoji_pictures, monkeypatch):
    """A process that ends in the middle of a group stands for a decoder that crashes on one of its pictures."""
    run, good = Tagger.open(emoji_onnx).run, emoji_pictures[0].read_bytes()
    process = ReaderProcess(run)
    send = process._connection.__class__.send

    def send_or_crash(connection, files):
        if b"crash" in files:
            process._process.kill()
            process._process.join()
        send(connection, files)

    monkeypatch.setattr(process._connection.__class__, "send", send_or_crash)
    first, crashed, last = process.read([good, b"crash", good])
    assert isinstance(crashed, ImageError) and "crashed" in str(crashed)
    assert np.array_equal(first, last) and len(first) == 1
    process.close()


def test_what_no_process_can_read_is_raised_and_does_not_end_the_readers(emoji_onnx, emoji_pictures, monkeypatch):
    before = multiprocessing.active_children()
    readers, good = Readers(Tagger.open(emoji_onnx).run, 1), emoji_pictures[0].read_bytes()
    assert len(read_all(readers, [good])[0]) == 1
    with monkeypatch.context() as patch:
        patch.setattr(ReaderProcess, "read", lambda self, files: 1 / 0)
        assert isinstance(read_all(readers, [good])[0], ZeroDivisionError)
    assert len(read_all(readers, [good])[0]) == 1
    readers.close()
    assert multiprocessing.active_children() == before  # its process ended
