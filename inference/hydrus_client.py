"""A client of hydrus: its files that match a search, their content, and tags for them.

Its interface is described at https://hydrusnetwork.github.io/hydrus/developer_api.html
"""

import io
import json
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from common.errors import InputError
from dataset import images
from dataset.images import ImageError
from dataset.records import CATEGORIES, Tag
from dataset.tag_text import NAMESPACES

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LOCAL_TAG_SERVICE = 5  # type of a service whose tags stay in the client
TIMEOUT_SECONDS = (10, 300)  # for the connection, and until the answer: a search of many files takes long
CHUNK_BYTES = 2**18
# Category ▶ namespace, as hydrus' downloaders write it; download.py reads the same. General tags have none.
NAMESPACE_OF = {CATEGORIES[category]: name for name, category in NAMESPACES.items() if category != "general"}

Answer = TypeVar("Answer")


class HydrusClient:
    """A running hydrus client. `read` may be called by several threads.

    Args:
        address: of its client API.
        key: access key.
        remote: allow another computer than this one.

    Raises:
        InputError: the address is none, or is that of another computer; the key cannot be sent.
    """

    def __init__(self, address: str, key: str, remote: bool = False):
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"--address has to be like http://127.0.0.1:45869. Received: {address}")
        if parts.hostname not in LOOPBACK and not remote:
            raise InputError(f"{parts.hostname} is not this computer: add --remote to send it the access key and tags")
        if not key.isalnum() or not key.isascii():
            raise InputError(
                "the access key has to be letters and digits: copy it from hydrus (review services ▸ client api)"
            )
        self._address = address.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy gets the key
        self._session.headers["Hydrus-Client-API-Access-Key"] = key

    def local_tag_service(self, name: str) -> str:
        """Return the key of a tag service by its name.

        Raises:
            InputError: there is none, or it is shared with others; see `_send` too.
        """
        missing = InputError(f"hydrus has no service named {name!r}: give --service a name of its review services ▸ tags")
        response = self._send("/get_service", {"service_name": name}, missing=missing)
        service = self._parse(response, lambda content: {**content["service"]})
        if service.get("type") != LOCAL_TAG_SERVICE or "service_key" not in service:
            kind = service.get("type_pretty", "another kind of service")
            raise InputError(f"--service has to be a local tag service, whose tags stay in hydrus. {name!r} is a {kind}")
        return service["service_key"]

    def search(self, tags: list[str]) -> dict[int, str]:
        """Return the files with all these tags, which may be predicates such as `system:inbox`, or `-cat` for files without.

        Returns:
            The number of each file in this client, and its SHA-256.

        Raises:
            InputError: see `_send`.
        """
        response = self._send("/get_files/search_files", {"tags": json.dumps(tags), "return_hashes": "true"})
        return self._parse(response, lambda content: dict(zip(content["file_ids"], content["hashes"], strict=True)))

    def read(self, file_id: int) -> bytes:
        """Return the content of a file.

        Raises:
            ImageError: it is not a picture, too large, or missing.
            InputError: see `_send`.
        """
        missing = ImageError("the file is missing in hydrus")
        with self._send("/get_files/file", {"file_id": str(file_id)}, stream=True, missing=missing) as response:
            kind = response.headers.get("Content-Type", "")
            if not kind.startswith("image/"):
                raise ImageError(f"{kind}, not a picture")
            data = io.BytesIO()
            try:
                for part in response.iter_content(CHUNK_BYTES):
                    if data.tell() + len(part) > images.MAX_FILE_BYTES:
                        raise ImageError(f"the file is larger than {images.MAX_FILE_BYTES // 2**20} MiB")
                    data.write(part)
            except requests.RequestException:
                raise self._no_answer() from None
            return data.getvalue()

    def add_tags(self, file_id: int, service_key: str, tags: list[str], again: bool) -> None:
        """Add tags to a file. Hydrus leaves tags that the file has already as they are.

        Args:
            file_id: number of the file.
            service_key: the tag service.
            tags: the tags.
            again: also add those that the user deleted from this file.

        Raises:
            InputError: see `_send`.
        """
        content = {"file_id": file_id, "service_keys_to_tags": {service_key: tags}}
        self._send("/add_tags/add_tags", json=content | {"override_previously_deleted_mappings": again})

    def _send(
        self,
        path: str,
        params: dict[str, str] | None = None,
        json: dict[str, Any] | None = None,
        stream: bool = False,
        missing: Exception | None = None,
    ) -> requests.Response:
        """Send a request, a POST if it has JSON, and return the answer.

        Args:
            path: path of the address.
            params: parameters in the address.
            json: the request's JSON.
            stream: do not read the answer's body yet.
            missing: raised for 404.

        Raises:
            InputError: hydrus does not answer, or refuses the request.
        """
        try:
            response = self._session.request(
                "POST" if json else "GET",
                self._address + path,
                params=params,
                json=json,
                stream=stream,
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,  # they would take the key elsewhere
            )
        except requests.RequestException:
            raise self._no_answer() from None
        if response.status_code == 200:
            return response
        if response.status_code == 404 and missing:
            response.close()
            raise missing
        try:
            reason = str(response.json()["error"])
        except (ValueError, KeyError, TypeError, requests.RequestException):
            reason = response.reason
        denied = response.status_code in (401, 403, 419)
        hint = ": check the key and its permissions in hydrus (review services ▸ client api)" if denied else ""
        raise InputError(f"hydrus answered {response.status_code}, {reason}{hint}")

    def _parse(self, response: requests.Response, read: Callable[[Any], Answer]) -> Answer:
        """Return what a function reads from the JSON of an answer.

        Raises:
            InputError: it is not there.
        """
        try:
            return read(response.json())
        except (ValueError, KeyError, TypeError):
            raise InputError(f"what answers at {self._address} is not hydrus, or is a version before 501") from None

    def _no_answer(self) -> InputError:
        where = "services ▸ manage services ▸ client api"
        return InputError(f"hydrus does not answer at {self._address}: start it, and its client API ({where})")


def hydrus_names(tags: list[Tag]) -> dict[str, str]:
    """Return tag ▶ the tag with its namespace, as `character:samus_aran`, for tags that have one.

    Ratings, as `rating:safe`, have theirs already.
    """
    with_namespace = [tag for tag in tags if tag.category in NAMESPACE_OF and not tag.name.startswith("rating:")]
    return {tag.name: f"{NAMESPACE_OF[tag.category]}:{tag.name}" for tag in with_namespace}
