"""A repository on the Hub is made to hold a set of files, in one commit.

    push("me/tumbler-tiny-sft", "model", {"README.md": b"...", "model.safetensors":
    Path("runs/tiny/sft/model.safetensors")}, private=True)

The blobs go first and nothing can be seen before the commit. An upload that was cut off goes on: blobs that are there
are not sent again, and where every file is there and equal, no commit is made, so the lost answer to a commit makes no
second one. `huggingface_hub` itself sends the requests for blobs again when the Hub is busy or the line breaks; its
requests that make a repository, check a card and commit it sends once, so `insist` does it.
"""

import fnmatch
import json
import mmap
import re
import socket
import sys
import time
from json import JSONDecodeError
from pathlib import Path

from eval.cli import UserError

WAITS = (1, 2, 4, 8, 16, 30)  # seconds before each new try
BUSY = {408, 412, 429, 500, 502, 503, 504}  # 412: another commit came between, so look again what is to be done
REFUSALS = {
    401: "the Hub does not know the token, or there is none: `hf auth login`, or set HF_TOKEN",
    403: "the token may not write there: take one that may (huggingface.co/settings/tokens), or another namespace",
    404: "the Hub has no such place, or does not show it to this token: look at the namespace and at HF_ENDPOINT",
    409: "the Hub reports a conflict ({said}): something else is changing it; run the same command again when that is"
    " done",
}
TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{30,}")
# Of a stage's folder; not training_args.bin (a pickle), logs, checkpoints and the trainers' own README.md
MODEL_FILES = (
    *(
        "*.safetensors",
        "*.safetensors.index.json",
        "config.json",
        "generation_config.json",
        "adapter_config.json",
        "chat_template.jinja",
        "pairs.json",
    ),
    *(
        "tokenizer*.json",
        "*.model",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
    ),
)
OURS = (*MODEL_FILES, "*.jsonl", "stage.json", "results*.json")  # what a later push may delete


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file's name is of one of the patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def model_files(folder: Path) -> dict[str, Path]:
    """What of a stage's folder is the model; links are left out.

    Raises:
        UserError: no weights, or see `check_whole`.
    """
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.is_symlink() and matches(path.name, MODEL_FILES):
            found[path.name] = path
    if not any(name.endswith(".safetensors") for name in found):
        raise UserError(f"{folder} holds no weights (*.safetensors, no links): train the stage, or leave it out")
    check_whole(folder, found)
    return found


def check_whole(folder: Path, files: dict[str, Path]) -> None:
    """Raises `UserError` for a model that nobody could load: without its config, or with weights that are missing or
    cut off."""
    from safetensors import SafetensorError, safe_open

    cure = "train the stage again, or leave it out"
    if "adapter_config.json" not in files and "config.json" not in files:
        raise UserError(f"{folder} is not whole, config.json is missing: {cure}")
    keys = set()
    for name in (name for name in files if name.endswith(".safetensors")):
        try:
            with safe_open(files[name], "pt") as weights:
                keys |= set(weights.keys())
        except (SafetensorError, OSError) as error:
            raise UserError(f"{folder} is not whole, {name} cannot be read ({error}): {cure}") from None
    for name in (name for name in files if name.endswith(".safetensors.index.json")):
        try:
            named = set(json.loads(files[name].read_text())["weight_map"])
        except (ValueError, KeyError, TypeError, OSError):
            raise UserError(f"{folder} is not whole, {name} cannot be read: {cure}") from None
        lost = named - keys
        if lost:
            raise UserError(f"{folder} is not whole, {len(lost)} weights of {name} are missing: {cure}")


def mask(text: str) -> str:
    """The text without the token."""
    from huggingface_hub import get_token

    token = get_token()
    text = text.replace(token, "hf_***") if token else text
    return TOKEN.sub(b"hf_***", text.encode(errors="replace")).decode(errors="replace")


def refuse_tokens(files: dict[str, Path | bytes]) -> None:
    """Raises `UserError` for a file that holds a Hub token."""
    from huggingface_hub import get_token

    token = re.compile(b"|".join([TOKEN.pattern, *([re.escape(get_token().encode())] if get_token() else [])]))
    for name, content in files.items():
        if isinstance(content, bytes):
            found = token.search(content)
        elif name.endswith(".safetensors") or not content.stat().st_size:
            continue
        else:
            with content.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                found = token.search(text)
        if found:
            raise UserError(
                f"{name if isinstance(content, bytes) else content} holds a Hub token: take it out; nothing was"
                " uploaded"
            )


def explain(error: Exception, what: str) -> tuple[str, float | None]:
    """What went wrong in one line, and the seconds to wait at least before a new try (None: it would fail again)."""
    from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx

    while isinstance(error, RuntimeError) and error.__cause__:  # "error while uploading": why?
        error = error.__cause__
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    said = " ".join(mask(str(error)).split())[:300] or type(error).__name__
    if isinstance(error, OfflineModeIsEnabled):
        return f"{what}: HF_HUB_OFFLINE is set, so nothing goes to the Hub: unset it, or do not push", None
    if isinstance(error, LocalTokenNotFoundError):
        status = 401
    if status in REFUSALS:
        return f"{what}: {REFUSALS[status].format(said=said)}", None
    if status in BUSY or isinstance(error, (httpx.TransportError, JSONDecodeError)):
        after = response.headers.get("Retry-After", "") if status else ""
        return f"{what}: the Hub is busy or the line broke ({status or said})", (
            float(after) if after.isdigit() else 0.0
        )
    return f"{what}: {said}", None


def insist(act, what: str):
    """`act()`, again after a pause where the Hub is busy or the line breaks.

    Raises:
        UserError: it failed for another reason, or each time.
    """
    from huggingface_hub.utils import httpx

    for wait in (*WAITS, None):
        try:
            return act()
        except (httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
            message, least = explain(error, what)
            if least is None or wait is None:
                raise UserError(message + ("; the same command goes on from here" if wait is None else "")) from None
            print(f"{message}; again in {max(wait, least):.0f} s", file=sys.stderr, flush=True)
            time.sleep(max(wait, least))


def check_access(namespace: str | None = None) -> str:
    """The namespace to write to, the token's own user by default; asked before any work.

    Raises:
        UserError: no token, a token that the Hub does not know or that may only read, or another's namespace.
    """
    from huggingface_hub import HfApi

    who = insist(HfApi().whoami, "push")
    if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise UserError(
            "push: the token may only read: take one that may write (huggingface.co/settings/tokens), `hf auth login`"
        )
    names = [who["name"], *(org["name"] for org in who.get("orgs") or [])]
    if namespace and namespace not in names:
        raise UserError(
            f"push: the token cannot write to {namespace}, only to {', '.join(names)}: give one of these, or log in as"
            " another (`hf auth login`)"
        )
    return namespace or names[0]


def check_privacy(repo_id: str, is_private: bool, private: bool) -> None:
    """Raises `UserError` where a repository is not as private as it should be, or more so."""
    if is_private and not private:
        raise UserError(f"{repo_id} is there and is private: make it public in its settings, or push it as private")
    if private and not is_private:
        raise UserError(
            f"{repo_id} is there and everyone can read it: push it as public (--public, or hub_private_repo:"
            " false), or give it another name"
        )


def push(
    repo_id: str, kind: str, files: dict[str, Path | bytes], private: bool, message: str = "Push by Tumbler's recipes"
) -> bool:
    """Make the repository, if need be, and make it hold the files; says what was done. Files of an earlier push that
    are no longer among them go.

    Args:
        kind: model or dataset.

    Returns:
        Whether there was anything to commit.

    Raises:
        UserError: the Hub refuses, or cannot be reached for long; a file holds a token; the repository is public and
            should be private, or the other way.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    refuse_tokens(files)
    api, heads = HfApi(), []
    insist(lambda: api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True), repo_id)

    def commit() -> str:
        there = api.repo_info(repo_id, repo_type=kind)
        check_privacy(repo_id, there.private, private)
        heads.append(there.sha)
        names = [file.rfilename for file in there.siblings or []]
        old = [name for name in names if name not in files and matches(name, OURS)]
        operations = [
            *(CommitOperationAdd(name, content) for name, content in files.items()),
            *map(CommitOperationDelete, old),
        ]
        return api.create_commit(
            repo_id, operations, repo_type=kind, commit_message=message, parent_commit=there.sha
        ).oid

    made = insist(commit, repo_id) != heads[0]
    where = f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"
    print(
        f"{where}:"
        f" {'pushed, ' + ('private' if private else 'public') if made else 'is there already, nothing to push'}"
    )
    return made


# A path of two parts or more where no URL stands; its last part is kept
_PART = r"[^\s/\\`'\"|<>(){},;:=]"
_ABSOLUTE = re.compile(
    r"(?<![\w/.~-])(?:file://|~[\w.-]*)?/(?:[^\s/`'\"|<>(){},;:=]+/)+([^\s/`'\"|<>(){},;:=]*)"
    rf"|(?<!\w)[A-Za-z]:(?:\\\\?|/)(?:{_PART}+(?:\\\\?|/))+({_PART}*)"  # a drive of Windows
    rf"|(?<![\w\\])\\\\(?:{_PART}+\\)+({_PART}+\.[a-z]+)(?![\w\\])"  # a file that Windows shares
)
_HOME = re.compile(r".*(?:/home|[/\\]Users)[/\\]+[^/\\]+[/\\]?", re.DOTALL)  # its last part is the user's name
_WHOLE = re.compile(r"(?:file://)?(?:[A-Za-z]:[/\\]|/[^/\n]+/|\\\\|~[\w.-]*/)[^\n]+")
_FILE = re.compile(r"\.(?:jsonl?|csv|tsv|parquet|arrow|txt|ya?ml|warc|safetensors|gguf|bin|pt)(?:\.\w+)?$")


def hub_id(path: str | None) -> str | None:
    """The Hub id of a model or data set that is loaded from here, or None of a folder and a file: elsewhere, and
    later, the two look the same, so that a stage notes it (`on_hub` of its record).
    """
    path = str(path or "")
    if path.startswith((".", "~")):
        return None
    found = re.match(r"hf://(?:datasets/)?([\w.-]+/[\w.-]+?)(?:[@/].*)?$", path)
    if found:
        return found[1]
    named = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path) and not _FILE.search(path)
    return path if named and not Path(path).exists() else None


def _relative(text: str, run: Path) -> str:
    for path, short in ((run.resolve(), run.resolve().name), (Path.cwd(), ".")):
        if str(path) != "/":
            text = re.sub(re.escape(str(path)) + r"(?=/|\b)", short, text)
    return text


def _last(path: str) -> str:
    return "~" if _HOME.fullmatch(path) else re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def public(text: str, run: Path) -> str:
    """The text without paths of this machine: those below the run's folder and the working directory are relative, of
    others the file's or folder's name is left.
    """
    return _ABSOLUTE.sub(lambda found: _last(found[0]), _relative(text, run))


def public_record(value, run: Path):
    """A record (JSON) without paths and the name of this machine, see `public`. A text that is a path, with spaces or
    without, `search=` before it or not, is left with its last part.
    """
    if isinstance(value, dict):
        return {public_record(key, run): public_record(item, run) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [public_record(item, run) for item in value]
    if not isinstance(value, str):
        return value
    key, equals, path = _relative(value, run).rpartition("=")
    text = public(key, run) + equals + (_last(path) if _WHOLE.fullmatch(path) else public(path, run))
    host = socket.gethostname()
    if len(host) > 3:  # a shorter one may be any word
        text = re.sub(rf"(?<![A-Za-z0-9.-]){re.escape(host)}(?![A-Za-z0-9-])", "host", text)
    return text
