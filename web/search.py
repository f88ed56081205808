"""The search box: an index's pictures, found by a sentence."""

import mimetypes

from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import FileResponse

from model.joint import JointSpace
from model.picture_index import PictureIndex
from model.search import by_sentence

SHOWN, MOST_SHOWN, MOST_LETTERS = 24, 200, 500


def add_to(app: FastAPI, space: JointSpace, index: PictureIndex) -> None:
    """Give an application the routes of the search box.

    Raises:
        InputError: the run knows no sentences.
    """
    space.sentences(["loads the text tower before the first request"])

    @app.get("/search")
    def search(
        q: str = Query(min_length=1, max_length=MOST_LETTERS), limit: int = Query(SHOWN, ge=1, le=MOST_SHOWN)
    ) -> list[dict]:
        """The indexed pictures that fit a sentence, best first."""
        found = by_sentence(space, index, q, limit)
        return [{"file": str(match.path), "score": match.score, "picture": f"indexed/{match.number}"} for match in found]

    @app.get("/indexed/{number}", response_class=FileResponse)
    def picture(number: int) -> FileResponse:
        """A picture of the index."""
        path = index.path(number)
        if path is None or not path.is_file():
            raise HTTPException(404, "no such picture, or it has gone")
        return FileResponse(path, media_type=mimetypes.guess_type(path.name)[0] or "application/octet-stream")
