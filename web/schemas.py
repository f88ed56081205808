"""What requests and answers of the server hold. FastAPI describes them in /openapi.json."""

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, Field, WithJsonSchema

TAG_NAME = {"$ref": "#/components/schemas/TagName"}  # see `OpenApi`
TagName = Annotated[str, WithJsonSchema(TAG_NAME)]
HTML = {"text/html": {"schema": {"type": "string"}}}


class Judgement(BaseModel):
    """What a user saw and marked of a picture's tags."""

    picture: str = Field(pattern="^[0-9a-f]{32}$", description="MD5 of the file")
    seen: list[TagName] = Field([], max_length=10_000)
    added: list[TagName] = Field([], max_length=10_000)
    rejected: list[TagName] = Field([], max_length=10_000)
    withdrawn: list[TagName] = Field([], max_length=10_000, description="no longer added or rejected")


class Refusal(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="kind of error, for example BadRequest")
    message: str


class PictureTags(BaseModel):
    """The tags of an uploaded picture."""

    filename: str
    tags: dict[str, float] = Field(description="tag ▶ probability, the most probable first")
    error: str = Field("", description="why the file cannot be read; left out if it can")


class HeatMap(BaseModel):
    """Where in a picture the network sees a tag."""

    heat: list[list[float]] = Field(description="rows of numbers from 0 to 1 over the network's square input")
    resize: str = Field(description="how the picture was fitted into that square")


class Counts(BaseModel):
    """On how many pictures a tag was seen, marked right and marked wrong."""

    seen: int
    added: int
    rejected: int


class TagFacts(BaseModel):
    """What a model knows of a tag."""

    category: int
    threshold: float
    implies: list[str]


class Model(BaseModel):
    """The tags of the model, and what the server can do."""

    version: str
    heat: bool
    search: bool
    upload_bytes: int
    tags: dict[str, TagFacts]


class Health(BaseModel):
    """Whether the server answers, and with which model."""

    status: str
    version: str


class Match(BaseModel):
    """A picture of the index that fits a sentence."""

    file: str
    score: float
    picture: str = Field(description="address of the picture")


ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"model": Refusal, "content": HTML, "description": "The request was refused; browsers get a page."}
}


class OpenApi(FastAPI):
    """An application whose OpenAPI document has the names of its tags once, however often it refers to them.

    Args:
        tag_names: names of the tags.
        kwargs: arguments of FastAPI.
    """

    def __init__(self, tag_names: Iterable[str], **kwargs):
        super().__init__(**kwargs)
        self._tag_names = list(tag_names)

    def openapi(self) -> dict[str, Any]:
        """Return the document."""
        document = super().openapi()
        document["components"]["schemas"]["TagName"] = {"type": "string", "enum": self._tag_names}
        return document
