"""A small Hub on this machine, for the real `huggingface_hub` client: repositories in memory, as lists of commits.

    with Hub() as hub:
        hub.fail("POST", "/commit/", "lost")        # the first commit is made, its answer never comes
        ... HF_ENDPOINT=hub.url HF_TOKEN=hub.token HF_HUB_DISABLE_XET=1 ...
        hub.repos["model", "me/x"].commits          # [Commit(oid, title, files)]

It speaks what the client calls to make, fill, list and read models and data sets: whoami, create, validate-yaml,
preupload, LFS batch, upload and verify, commit, info, tree, paths-info, refs, resolve. As on the Hub, a private
repository is not there for others, a blob is not visible before a commit that names it, and a commit is made whole or
not at all.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LFS = (".safetensors", ".bin", ".parquet")
LARGE = 200_000  # bytes from which a file of another kind goes to LFS, too
LICENSES = {"apache-2.0", "mit", "cc-by-4.0", "other"}
ERRORS = {
    401: ("", "Invalid credentials in Authorization header"),
    403: ("", "You don't have the rights"),
    404: ("RepoNotFound", "Repository not found"),
    409: ("", "Conflict"),
    429: ("", "Too many requests"),
    500: ("", "Internal error"),
    503: ("", "Busy"),
}


@dataclass
class Commit:
    oid: str
    title: str
    files: dict[str, bytes]


@dataclass
class Repo:
    private: bool
    commits: list[Commit] = field(
        default_factory=lambda: [
            Commit("0" * 39 + "1", "initial commit", {".gitattributes": b"*.safetensors filter=lfs\n"})
        ]
    )

    def at(self, revision: str) -> Commit | None:
        return (
            self.commits[-1]
            if revision == "main"
            else next((commit for commit in self.commits if commit.oid == revision), None)
        )


def is_lfs(path: str, content: bytes | int) -> bool:
    return path.endswith(LFS) or (content if isinstance(content, int) else len(content)) > LARGE


def oid(path: str, content: bytes) -> str:
    """What the Hub compares a file by: SHA-256 of LFS files, git's SHA-1 of others."""
    return (
        hashlib.sha256(content).hexdigest()
        if is_lfs(path, content)
        else hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    )


def bad_metadata(content: str) -> list[str]:
    """What is wrong with a card's metadata."""
    head = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
    if not head:
        return ["no metadata"]
    data = yaml.safe_load(head[1])
    wrong = [] if data.get("license") in LICENSES else [f'"license" must be one of {sorted(LICENSES)}']
    for name, kind in (
        ("tags", list),
        ("datasets", list),
        ("base_model", str),
        ("pipeline_tag", str),
        ("configs", list),
        ("size_categories", list),
    ):
        wrong += [f'"{name}" must be a {kind.__name__}'] if name in data and not isinstance(data[name], kind) else []
    for model in data.get("model-index", []):
        for result in model["results"]:
            wrong += (
                []
                if result["task"]["type"] and isinstance(result["dataset"]["type"], str) and result["dataset"]["name"]
                else ["a result lacks its task or data set"]
            )
            wrong += (
                []
                if result["metrics"] and all(isinstance(m["type"], str) and "value" in m for m in result["metrics"])
                else ["a metric lacks its type or value"]
            )
    return wrong


class Hub:
    """Runs while its `with` block does.

    Attributes:
        users: token -> (name, role, organisations).
        calls: (method, path) of each request.
        failures: [method, pattern, what, how often to let pass], used up in order.
    """

    token, reader, other = "hf_" + "a" * 34, "hf_" + "r" * 34, "hf_" + "o" * 34

    def __init__(self):
        self.users = {
            self.token: ("me", "write", ["team"]),
            self.reader: ("me", "read", []),
            self.other: ("other", "write", []),
        }
        self.repos, self.blobs, self.calls, self.failures, self.lock = {}, {}, [], [], threading.RLock()

    def fail(self, method: str, pattern: str, what, after: int = 0, times: int = 1) -> None:
        """Let the next matching request fail: with a status, (status, message), "drop" (no answer), "half" (the line
        breaks within the body) or "lost" (it is done, its answer is lost); a function is called before the request is
        done as usual."""
        self.failures += [[method, pattern, what, after if i == 0 else 0] for i in range(times)]

    def failure(self, method: str, path: str):
        with self.lock:
            self.calls.append((method, path))
            for entry in self.failures:
                if entry[0] == method and re.search(entry[1], path):
                    if entry[3]:
                        entry[3] -= 1
                        return None
                    self.failures.remove(entry)
                    return entry[2]

    def __enter__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home) -> dict[str, str]:
        """What a process needs to take this for the Hub, with a cache of its own."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": self.token,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def answer(self, status: int, body: dict | list | bytes = b"", **headers: str) -> None:
        if self.lost:
            return self.drop()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(data)),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if self.half else data)
        if self.half:
            self.drop()

    def error(self, status: int, message: str = "", code: str = "") -> None:
        code, message = code or ERRORS.get(status, ("", ""))[0], message or ERRORS.get(status, ("", ""))[1]
        self.answer(
            status,
            {"error": message, "url": f"{self.hub.url}/me/none"},
            X_Error_Message=message,
            **({"X_Error_Code": code} if code else {}),
        )

    def drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def handle_any(self) -> None:
        url, self.lost, self.half = urlsplit(self.path), False, False
        path, query = unquote(url.path), parse_qs(url.query)
        size, failure = int(self.headers.get("Content-Length") or 0), self.hub.failure(self.command, path)
        if failure in ("drop", "half") and self.command != "GET":
            if failure == "half":
                self.rfile.read(size // 2)
            return self.drop()
        body = self.rfile.read(size)
        if self.headers.get("Transfer-Encoding") == "chunked":
            while length := int(self.rfile.readline(), 16):
                body += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
        if callable(failure):
            failure()
        if isinstance(failure, (int, tuple)):
            return self.error(*([failure] if isinstance(failure, int) else failure))
        self.lost, self.half = failure == "lost", failure == "half"
        if failure == "drop":
            return self.drop()
        self.user, self.role, orgs = self.hub.users.get(
            (self.headers.get("Authorization") or "").removeprefix("Bearer "), (None, None, [])
        )
        self.may_write = [self.user, *orgs] if self.role == "write" else []
        with self.hub.lock:
            for method, pattern, act in ROUTES:
                if method == self.command.replace("HEAD", "GET") and (found := re.fullmatch(pattern, path)):
                    return act(self, body, query, **found.groupdict())
        self.error(404, f"no route {self.command} {path}", "EntryNotFound")

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    # --- what the routes do ---

    def whoami(self, body, query):
        if self.user is None:
            return self.error(401)
        orgs = [{"name": name} for name in self.hub.users[self.headers["Authorization"].removeprefix("Bearer ")][2]]
        self.answer(
            200,
            {
                "type": "user",
                "name": self.user,
                "orgs": orgs,
                "auth": {"accessToken": {"displayName": "t", "role": self.role}},
            },
        )

    def create(self, body, query):
        asked = json.loads(body)
        repo_id = f"{asked.get('organization') or self.user}/{asked['name']}"
        if self.user is None:
            return self.error(401)
        if repo_id.split("/")[0] not in self.may_write:
            return self.error(403)
        kind = asked.get("type", "model")
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"
        if (kind, repo_id) in self.hub.repos:
            return self.answer(409, {"error": "You already created this repo", "url": url})
        self.hub.repos[kind, repo_id] = Repo(asked.get("visibility") == "private")
        self.answer(200, {"url": url, "id": repo_id})

    def validate(self, body, query):
        wrong = bad_metadata(json.loads(body)["content"])
        self.answer(400 if wrong else 200, {"errors": [{"message": message} for message in wrong], "warnings": []})

    def find(self, kind: str, id: str, revision: str = "main", write: bool = False):
        """The repository and the commit, or an answer and (None, None)."""
        repo = self.hub.repos.get((kind, id))
        if repo is None or (repo.private and id.split("/")[0] != self.user and id.split("/")[0] not in self.may_write):
            self.error(404 if self.user else 401, "Repository not found", "RepoNotFound")
        elif write and id.split("/")[0] not in self.may_write:
            self.error(403)
        elif (commit := repo.at(revision)) is None:
            self.error(404, "Revision not found", "RevisionNotFound")
        else:
            return repo, commit
        return None, None

    def preupload(self, body, query, kind, id, revision):
        repo, commit = self.find(kind, id, revision, write=True)
        if repo:
            files = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if is_lfs(f["path"], f["size"]) else "regular",
                    "shouldIgnore": False,
                    "oid": oid(f["path"], commit.files[f["path"]]) if f["path"] in commit.files else None,
                }
                for f in json.loads(body)["files"]
            ]
            self.answer(200, {"files": files})

    def batch(self, body, query, prefix, id):
        repo, _ = self.find("dataset" if prefix else "model", id, write=True)
        if repo:
            objects = []
            for item in json.loads(body)["objects"]:
                actions = {
                    "upload": {"href": f"{self.hub.url}/blobs/{item['oid']}?X-Amz-Signature=s"},
                    "verify": {"href": f"{self.hub.url}/verify/{item['oid']}"},
                }
                objects.append(item | ({} if item["oid"] in self.hub.blobs else {"actions": actions}))
            self.answer(200, {"transfer": "basic", "objects": objects})

    def upload(self, body, query, blob):
        if hashlib.sha256(body).hexdigest() != blob:
            return self.error(400, "the content is not what its name says")
        self.hub.blobs[blob] = body
        self.answer(200)

    def verify(self, body, query, blob):
        self.answer(200 if len(self.hub.blobs.get(blob, b"")) == json.loads(body)["size"] else 404)

    def commit(self, body, query, kind, id, revision):
        repo, head = self.find(kind, id, revision, write=True)
        if not repo:
            return
        lines = [json.loads(line) for line in body.splitlines()]
        header, files = lines[0]["value"], dict(head.files)
        if header.get("parentCommit", head.oid) != head.oid:
            return self.error(412, "A commit has happened since. Please refresh and try again.")
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.blobs:
                    return self.error(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        number = hashlib.sha1(
            f"{head.oid} {sorted((path, oid(path, content)) for path, content in files.items())}".encode()
        ).hexdigest()
        repo.commits.append(Commit(number, header["summary"], files))
        self.answer(200, {"commitUrl": f"{self.hub.url}/{id}/commit/{number}", "commitOid": number})

    def info(self, body, query, kind, id, revision="main"):
        repo, commit = self.find(kind, id, revision or "main")
        if repo:
            self.answer(
                200,
                {
                    "id": id,
                    "sha": commit.oid,
                    "private": repo.private,
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                    "siblings": [{"rfilename": path} for path in sorted(commit.files)],
                },
            )

    def entry(self, path: str, content: bytes) -> dict:
        lfs = (
            {"lfs": {"oid": oid(path, content), "size": len(content), "pointerSize": 134}}
            if is_lfs(path, content)
            else {}
        )
        return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()} | lfs

    def tree(self, body, query, kind, id, revision, path=None):
        repo, commit = self.find(kind, id, revision)
        if repo:
            self.answer(
                200,
                [
                    self.entry(name, content)
                    for name, content in sorted(commit.files.items())
                    if not path or name.startswith(path.strip("/") + "/")
                ],
            )

    def paths_info(self, body, query, kind, id, revision):
        repo, commit = self.find(kind, id, revision)
        if repo:
            text = body.decode()
            asked = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text)["paths"]
            self.answer(200, [self.entry(name, commit.files[name]) for name in asked if name in commit.files])

    def refs(self, body, query, kind, id):
        repo, commit = self.find(kind, id)
        if repo:
            self.answer(
                200,
                {
                    "branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": commit.oid}],
                    "tags": [],
                    "converts": [],
                },
            )

    def resolve(self, body, query, prefix, id, revision, path):
        repo, commit = self.find("dataset" if prefix else "model", id, revision)
        if not repo:
            return
        if (content := commit.files.get(path)) is None:
            return self.answer(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=commit.oid)
        headers = {
            "X_Repo_Commit": commit.oid,
            "ETag": f'"{oid(path, content)}"',
            "X_Linked_Etag": f'"{oid(path, content)}"',
            "X_Linked_Size": str(len(content)),
            "Accept_Ranges": "bytes",
        }
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, end = int(found[1]), min(int(found[2] or len(content) - 1), len(content) - 1)
            return self.answer(
                206, content[start : end + 1], Content_Range=f"bytes {start}-{end}/{len(content)}", **headers
            )
        self.answer(200, content, **headers)


API, ID = r"/api/(?P<kind>model|dataset)s/(?P<id>[\w.-]+/[\w.-]+)", r"/(?P<prefix>datasets/)?(?P<id>[\w.-]+/[\w.-]+)"
ROUTES = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", API + "/preupload/(?P<revision>.+)", Handler.preupload),
    ("POST", ID + r"\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/blobs/(?P<blob>\w+)", Handler.upload),
    ("POST", r"/verify/(?P<blob>\w+)", Handler.verify),
    ("POST", API + "/commit/(?P<revision>.+)", Handler.commit),
    ("GET", API + "(/revision/(?P<revision>.+))?", Handler.info),
    ("GET", API + r"/tree/(?P<revision>[^/]+)(?P<path>/.*)?", Handler.tree),
    ("POST", API + "/paths-info/(?P<revision>.+)", Handler.paths_info),
    ("GET", API + "/refs", Handler.refs),
    ("GET", ID + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]
