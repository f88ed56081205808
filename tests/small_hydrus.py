"""A hydrus client with a few files on 127.0.0.1, as far as hydrus.py asks it, for tests."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

KEY = "0150d9c4f6a6d2082534a997f4588dcf0c56dffe1d03ffbf98472236112236ae"
SERVICES = {
    "my tags": {"name": "my tags", "service_key": "6c6f63616c2074616773", "type": 5, "type_pretty": "local tag domain"},
    "public": {"name": "public", "service_key": "ab12", "type": 0, "type_pretty": "hydrus tag repository"},
}


class SmallHydrus:
    """A running client.

    Args:
        files: content and content type of each file; their numbers start at 101.

    Attributes:
        address: of the client API.
        tags: number of a file ▶ its tags.
        deleted: number of a file ▶ tags that the user deleted.
        writes: the JSON of each request that added tags.
        searches: the tags of each search.
        max_writes: further ones are answered with 500, as by a client that is being closed.
        permissions: what the key may do: `search`, `tag`.
    """

    def __init__(self, files: list[tuple[bytes, str]]):
        self.files = dict(enumerate(files, 101))
        self.tags: dict[int, set[str]] = {number: set() for number in self.files}
        self.deleted: dict[int, set[str]] = {number: set() for number in self.files}
        self.writes: list[dict] = []
        self.searches: list[list[str]] = []
        self.max_writes = 1000
        self.permissions = {"search", "tag"}
        hydrus = self

        class Handler(BaseHTTPRequestHandler):
            """Answers one request after another."""

            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                address = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(address.query).items()}
                self.answer(*hydrus.answer(self.headers, address.path, query, None))

            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(*hydrus.answer(self.headers, self.path, {}, content))

            def answer(self, status: int, body: bytes | dict | str, kind: str = "application/json") -> None:
                if isinstance(body, str):
                    body = {"error": body, "exception_type": "Exception", "status_code": status}
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "SmallHydrus":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, headers, path: str, query: dict[str, str], content: dict | None) -> tuple:
        """Status, body and perhaps content type of an answer."""
        key = headers.get("Hydrus-Client-API-Access-Key")
        if key != KEY:
            return (403, "Did not find an entry for that access key!") if key else (401, "No access key!")
        if path == "/get_service":
            service = SERVICES.get(query["service_name"])
            return (200, {"service": service}) if service else (404, "Sorry, did not find a service with that name!")
        if ("tag" if content else "search") not in self.permissions:
            return 403, "API Permissions (e6tag): does not have the permission!"
        if path == "/get_files/search_files":
            return self.search(json.loads(query["tags"]))
        if path == "/get_files/file":
            data, kind = self.files[int(query["file_id"])]
            return (200, data, kind) if data else (404, "That file seems to be missing!")
        if path == "/add_tags/add_tags" and content:
            return self.add_tags(content)
        return 404, "No such address!"

    def search(self, tags: list[str]) -> tuple:
        """Files without the tags with a hyphen; of the predicates, `system:everything` alone is known."""
        self.searches.append(tags)
        if unknown := [tag for tag in tags if tag[0] != "-" and tag != "system:everything"]:
            return 400, f"Could not parse system predicate: {unknown[0]}"
        without = {tag[1:] for tag in tags if tag[0] == "-"}
        found = [number for number in self.files if not self.tags[number] & without]
        return 200, {"file_ids": found, "hashes": [f"{number:064x}" for number in found], "version": 80}

    def add_tags(self, content: dict) -> tuple:
        """Add tags to a file, except those that the user deleted unless the request overrides that."""
        if len(self.writes) >= self.max_writes:
            return 500, "The client is shutting down!"
        self.writes.append(content)
        [(service, tags)] = content["service_keys_to_tags"].items()
        assert service == SERVICES["my tags"]["service_key"]
        number = content["file_id"]
        kept_away = set() if content["override_previously_deleted_mappings"] else self.deleted[number]
        self.tags[number] |= set(tags) - kept_away
        return 200, b"", "text/html"
