"""The page of improve.py: questions about labels, fifty at a time, whose answers are stored at once."""

from collections.abc import Callable, Sequence
from typing import Literal

from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel
from starlette.middleware.trustedhost import TrustedHostMiddleware

from labels.asking import Question
from labels.feedback import Events
from labels.proposals import PAGE
from web.app import FOLDER, PAGE_HEADERS
from web.listener import LOOPBACK

PAGE_FILES = {"questions.js": "text/javascript", "style.css": "text/css"}
KINDS = {"yes": "added", "no": "rejected", "skip": "seen"}  # answer ▶ kind of event


class Answer(BaseModel):
    """A person's answer to a question."""

    question: int
    answer: Literal["yes", "no", "skip"]


class Ending(BaseModel):
    """The wish to end the page. A form of another web page cannot send JSON, and so cannot start a training."""

    train: Literal[True]


def build(questions: Sequence[Question], events: Events, run: str, end: Callable[[], None]) -> FastAPI:
    """Return the web application.

    Args:
        questions: what is asked, in this order.
        events: where answers are stored.
        run: name of the run, which the page shows.
        end: called when the person wants to train.
    """
    answers: dict[int, str] = {}
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(FOLDER / "questions.html", headers=PAGE_HEADERS)

    @app.get("/web/{name}")
    def page_file(name: str) -> FileResponse:
        if name not in PAGE_FILES:
            raise HTTPException(404, "no such file")
        return FileResponse(FOLDER / name, media_type=PAGE_FILES[name])

    @app.get("/questions")
    def next_questions() -> dict:
        """The next fifty questions that have no answer yet, so that a page that is loaded again goes on."""
        waiting = [number for number in range(len(questions)) if number not in answers]
        counts = {answer: sum(given == answer for given in answers.values()) for answer in KINDS}
        return {
            "run": run,
            "left": len(waiting),
            "counts": counts,
            "questions": [_as_json(number, questions[number]) for number in waiting[:PAGE]],
        }

    @app.get("/pictures/{number}")
    def picture(number: int) -> Response:
        _check(number, questions)
        return Response(questions[number].picture, media_type="image/jpeg")  # browsers see other kinds by the content

    @app.post("/answers", status_code=204)
    def answer(given: Answer) -> None:
        """Store an answer; a later one to the same question replaces it."""
        _check(given.question, questions)
        question = questions[given.question]
        withdrawn = [question.tag] if given.answer == "skip" else []
        events.add(question.md5, [(question.tag, KINDS[given.answer])], withdrawn)
        answers[given.question] = given.answer

    @app.post("/train", status_code=204)
    def train(_: Ending) -> None:
        """End the page; improve.py then trains."""
        end()

    return app


def serve(app: FastAPI, listener, stopped: Callable[[], bool]) -> None:
    """Answer requests until `stopped` returns true, or Ctrl-C.

    Args:
        app: the application.
        listener: a bound socket.
        stopped: asked several times a second.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def on_tick(self, counter: int) -> bool:
            return await super().on_tick(counter) or stopped()

    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=5)
    Server(config).run(sockets=[listener])


def _as_json(number: int, question: Question) -> dict:
    return {
        "number": number,
        "id": question.post_id,
        "tag": question.tag,
        "labelled": question.labelled,
        "probability": round(question.probability, 3),
        "labels": list(question.labels),
    }


def _check(number: int, questions: Sequence[Question]) -> None:
    if not 0 <= number < len(questions):
        raise HTTPException(404, "no such question")
