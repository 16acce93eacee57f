"""A stand-in for the Hugging Face Hub: the part of its HTTP interface that pushing and loading a model uses.

What the unmodified client sends is stored and given back over real HTTP, with the checks of tokens, ownership, privacy
and checksums that the tests need. It proves that our calls and the client fit together. It does not prove what the Hub
itself would say: its validation of metadata, quotas, Xet storage, rate limits and widgets are not here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

USER = "tester"
# Token → what it may do, as the Hub calls it.
TOKENS = {"hf_writer": "write", "hf_reader": "read"}
_LFS_SUFFIXES = (".safetensors", ".0", ".bin", ".pt")


@dataclass
class Repository:
    """One repository: whether it is private, its branches, and the files after each commit to any, newest last."""

    private: bool
    branches: set[str] = field(default_factory=lambda: {"main"})
    commits: list[tuple[str, str, dict[str, bytes]]] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        """Path → content after the newest commit."""
        return self.commits[-1][2] if self.commits else {}

    @property
    def sha(self) -> str:
        """Of the newest commit."""
        return self.commits[-1][0] if self.commits else "0" * 40

    def commit(self, message: str, added: dict[str, bytes], deleted: list[str]) -> str:
        """Add a commit; returns its id."""
        files = {path: content for path, content in self.files.items() if path not in deleted} | added
        sha = hashlib.sha1(f"{self.sha} {message} {len(self.commits)}".encode()).hexdigest()
        self.commits.append((sha, message, files))
        return sha


class HubServer:
    """The server, in a thread of its own; use it in a `with` statement.

    Attributes:
        repositories: id → repository.
        requests: method and path of every request, in their order.
        failing: part of paths → status that they are answered with.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.failing: dict[str, int] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """No lines on stderr."""

    def do_GET(self) -> None:  # noqa: N802
        self._dispatch()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _dispatch(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.role = TOKENS.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        for part, status in self.hub.failing.items():
            if part in path:
                return self._send(status, {"error": "the server says no"})
        match path.strip("/").split("/"):
            case ["api", "whoami-v2"]:
                self._whoami()
            case ["api", "repos", "create"]:
                self._create(json.loads(self.body))
            case ["api", "validate-yaml"]:
                self._validate(json.loads(self.body)["content"])
            case ["api", "models", user, name, *rest]:
                self._model(f"{user}/{name}", rest)
            case [user, name, "info", "lfs", "objects", "batch"]:
                self._lfs_batch(f"{user}/{name.removesuffix('.git')}")
            case ["objects", oid]:
                self._lfs_put(oid)
            case [user, name, "resolve", _, *parts]:
                self._resolve(f"{user}/{name}", "/".join(parts))
            case _:
                self._send(404, {"error": f"the stand-in does not know {path}"})

    def _whoami(self) -> None:
        if self.role is None:
            return self._send(401, {"error": "Invalid credentials"})
        token = {"displayName": "test", "role": self.role}
        self._send(200, {"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": token}})

    def _create(self, wanted: dict[str, Any]) -> None:
        repo_id = f"{wanted.get('organization') or USER}/{wanted['name']}"
        if self.role is None:
            return self._send(401, {"error": "Invalid credentials"})
        if not self._may_write(repo_id):
            return self._send(403, {"error": "You don't have the rights to create a model under this namespace"})
        answer = {"url": f"{self.hub.endpoint}/{repo_id}", "name": repo_id}
        if repo_id in self.hub.repositories:
            return self._send(409, {**answer, "error": "You already created this model repo"})
        private = wanted.get("visibility") == "private" or wanted.get("private") is True
        self.hub.repositories[repo_id] = Repository(private=private)
        self._send(200, answer)

    def _validate(self, content: str) -> None:
        try:
            metadata = yaml.safe_load(content.split("---")[1])
            assert isinstance(metadata, dict)
        except (yaml.YAMLError, AssertionError, IndexError):
            return self._send(400, {"errors": [{"message": "metadata is not a mapping"}], "warnings": []})
        self._send(200, {"errors": [], "warnings": []})

    def _model(self, repo_id: str, rest: list[str]) -> None:
        repository = self._visible(repo_id)
        if repository is None:
            return
        match rest:
            case [] | ["revision", _]:
                siblings = [{"rfilename": path} for path in sorted(repository.files)]
                info = {"id": repo_id, "sha": repository.sha, "private": repository.private, "siblings": siblings}
                self._send(200, {**info, "modelId": repo_id, "tags": []})
            case ["auth-check", *write]:
                allowed = self._may_write(repo_id) or not write
                self._send(200 if allowed else 403, {} if allowed else {"error": "no right to write"})
            case ["tree", _, *folder]:
                self._tree(repository, "".join(f"{part}/" for part in folder))
            case [_, _] if not self._may_write(repo_id):
                self._send(403, {"error": "no right to write"})
            case ["branch", name]:
                repository.branches.add(name)
                self._send(200, {})
            case ["preupload" | "commit", name] if name not in repository.branches:
                self._send(404, {"error": f"Invalid rev id: {name}"}, **{"X-Error-Code": "RevisionNotFound"})
            case ["preupload", _]:
                modes = [
                    {"path": file["path"], "uploadMode": _mode(file["path"]), "shouldIgnore": False}
                    for file in json.loads(self.body)["files"]
                ]
                self._send(200, {"files": modes})
            case ["commit", _]:
                self._commit(repo_id, repository)
            case _:
                self._send(404, {"error": "the stand-in does not know this"})

    def _tree(self, repository: Repository, folder: str) -> None:
        files = sorted(path for path in repository.files if path.startswith(folder))
        entries = [{"type": "file", "path": path, "oid": "0", "size": len(repository.files[path])} for path in files]
        self._send(200, entries)

    def _commit(self, repo_id: str, repository: Repository) -> None:
        message, added, deleted = "", {}, []
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            match entry["key"]:
                case "header":
                    message = value["summary"]
                case "file":
                    added[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    added[value["path"]] = self.hub.objects[value["oid"]]
                case "deletedFile":
                    deleted.append(value["path"])
        sha = repository.commit(message, added, deleted)
        url = f"{self.hub.endpoint}/{repo_id}/commit/{sha}"
        self._send(200, {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def _lfs_batch(self, repo_id: str) -> None:
        if not self._may_write(repo_id):
            return self._send(403, {"error": "no right to write"})
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.objects:
                entry["actions"] = {"upload": {"href": f"{self.hub.endpoint}/objects/{wanted['oid']}", "header": {}}}
            objects.append(entry)
        self._send(200, {"transfer": "basic", "objects": objects}, content_type="application/vnd.git-lfs+json")

    def _lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._send(400, {"error": "checksum"})
        self.hub.objects[oid] = self.body
        self._send(200, {})

    def _resolve(self, repo_id: str, path: str) -> None:
        repository = self._visible(repo_id)
        if repository is None:
            return
        if path not in repository.files:
            return self._send(404, {"error": "Entry not found"}, **{"X-Error-Code": "EntryNotFound"})
        content = repository.files[path]
        headers = {"X-Repo-Commit": repository.sha, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        self._send(200, content, content_type="application/octet-stream", **headers)

    def _may_write(self, repo_id: str) -> bool:
        return self.role == "write" and repo_id.startswith(f"{USER}/")

    def _visible(self, repo_id: str) -> Repository | None:
        """The repository, or None after answering that there is none, as the Hub does for private ones of others."""
        repository = self.hub.repositories.get(repo_id)
        if repository is not None and (not repository.private or self.role is not None):
            return repository
        status = 404 if self.role else 401
        self._send(status, {"error": "Repository not found"}, **{"X-Error-Code": "RepoNotFound"})
        return None

    def _send(self, status: int, body: Any, *, content_type: str = "application/json", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        error = {"X-Error-Message": body["error"]} if isinstance(body, dict) and "error" in body else {}
        for name, value in {"Content-Type": content_type, **error, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _mode(path: str) -> str:
    return "lfs" if path.endswith(_LFS_SUFFIXES) else "regular"
