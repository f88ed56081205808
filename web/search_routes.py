"""Routes of the search box: pictures of an index that fit a sentence."""

import mimetypes

from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import FileResponse

from retrieval.joint_space import JointSpace
from retrieval.picture_index import PictureIndex
from retrieval.query import search_by_sentence
from web.schemas import Match

DEFAULT_RESULTS, MAX_RESULTS, MAX_CHARACTERS = 24, 200, 500


def add_search_routes(app: FastAPI, space: JointSpace, index: PictureIndex) -> None:
    """Add the routes of the search box to an application.

    Raises:
        InputError: `search.py --align` has not been run for this run.
    """
    space.embed_sentences(["This loads the text encoder before the first request."])

    @app.get("/search", response_model=list[Match])
    def search(
        q: str = Query(min_length=1, max_length=MAX_CHARACTERS),
        limit: int = Query(DEFAULT_RESULTS, ge=1, le=MAX_RESULTS),
    ) -> list[dict]:
        """The indexed pictures that fit a sentence, the best first."""
        matches = search_by_sentence(space, index, q, limit)
        return [{"file": str(match.path), "score": match.score, "picture": f"indexed/{match.number}"} for match in matches]

    picture_content = {"image/*": {"schema": {"type": "string", "format": "binary"}}}

    @app.get("/indexed/{number}", response_class=FileResponse, responses={200: {"content": picture_content}})
    def picture(number: int) -> FileResponse:
        """A picture of the index."""
        path = index.path(number)
        if path is None or not path.is_file():
            raise HTTPException(404, "no such picture, or its file no longer exists")
        return FileResponse(path, media_type=mimetypes.guess_type(path.name)[0] or "application/octet-stream")
