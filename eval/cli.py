"""The command line of every script: YAML + dataclasses through `TrlParser`, and errors in one line.

    args, = parse((Arguments,), argv)      # --config file.yaml, then --key value, which wins

Bad input raises `UserError`; `command` turns it into one line on stderr and exit code 2.
"""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import time
import types
import typing
from pathlib import Path

MIN_FREE_BYTES = 256 * 2**20
WAIT = 30.0  # seconds for which the other processes leave the first to say what is wrong


class UserError(Exception):
    """Bad input. The message is one line: what was expected, where, and what to do."""


def _say(message: str) -> None:
    """The line on stderr; of several processes the first says it, and the launcher ends the others while they wait."""
    if os.environ.get("RANK", "0") != "0":
        time.sleep(WAIT)
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)


def disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one behind it, says that the disk is full: torch and safetensors have their own errors."""
    while error is not None:
        message = str(error)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        if (
            "No space left on device" in message
            or "PytorchStreamWriter failed" in message
            or "inline_container" in message
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def command(main):
    """Wrap a `main(argv=None)`: a `UserError` and a full disk become one line on stderr and exit code 2, Ctrl-C exit
    code 130 without a traceback."""

    @functools.wraps(main)
    def run(argv: list[str] | None = None):
        # peft imports it, and it warns each time that kernels for 4-bit weights on CPU are not installed
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        try:
            return main(argv)
        except UserError as error:
            _say(str(error))
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        except Exception as error:
            if not disk_full(error):
                raise
            name = getattr(error, "filename", None)
            where = f" for {name}" if name else ""
            _say(f"there is no space left on the disk{where}: free some and run the same command again")
            raise SystemExit(2) from None

    return run


def unique_keys(yaml):
    """A safe YAML loader that refuses a key given twice (YAML's own takes the last without a word)."""

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            keys = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise yaml.YAMLError("a key must be a word, not a list or mapping")
                if key.value in keys:
                    raise yaml.YAMLError(f"the key {key.value} stands twice")
                keys.add(key.value)
            return super().construct_mapping(node, deep)

    return Loader


@contextlib.contextmanager
def user_errors(what: str):
    """What a library says about bad settings, in one line: `what` was being done."""
    import jinja2

    try:
        yield
    except (ValueError, TypeError, ZeroDivisionError, jinja2.TemplateError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{what}: {lines[0]}") from error


def _check_types(dataclass_types, config: dict, path: str) -> None:
    """argparse converts strings only, so what YAML already typed is checked here."""
    for cls in dataclass_types:
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            if field.name not in config:
                continue
            value = config[field.name]
            hint = hints[field.name]
            options = (
                typing.get_args(hint)
                if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
                else (hint,)
            )
            plain = {typing.get_origin(o) or o for o in options}
            if not plain <= {int, float, bool, str, list, dict, type(None)}:
                continue  # enums and such
            if value is None and (type(None) in plain or field.default is None):
                continue
            if isinstance(value, str) and plain - {list, dict, type(None)}:
                continue  # converted and checked by argparse
            if float in plain:
                plain.add(int)
            if type(value) not in plain:
                names = " or ".join(sorted(t.__name__ for t in plain - {type(None)}))
                raise UserError(f"{path}: {field.name} must be {names}, but is {value!r} ({type(value).__name__})")
            elements = {e for o in options if typing.get_origin(o) is list for e in typing.get_args(o)}
            if isinstance(value, list) and elements and elements <= {int, float, bool, str}:
                elements |= ({int} if float in elements else set()) | (
                    {dict} if field.name in getattr(cls, "MAPPINGS", ()) else set()
                )
                wrong = [e for e in value if type(e) not in elements]
                if wrong:
                    raise UserError(
                        f"{path}: {field.name} must be a list of {' or '.join(sorted(t.__name__ for t in elements))},"
                        f" but holds {wrong[0]!r} ({type(wrong[0]).__name__})"
                    )


def refuse_token(config: dict, path: str | os.PathLike) -> None:
    """Raises `UserError` where a YAML file holds a token of the Hub: it would be read by all who read the file or a
    copy of it."""
    env = config.get("env")
    if config.get("hub_token") or (isinstance(env, dict) and env.keys() & {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}):
        raise UserError(
            f"{path} holds a token of the Hub: take it out, and `hf auth login`, or set HF_TOKEN in the shell"
        )


def parse(dataclass_types: tuple[type, ...], argv: list[str] | None = None, defaults: dict | None = None) -> tuple:
    """Parse `--config` YAML and `--key value` overrides into one instance of each dataclass.

    Args:
        defaults: take the place of the dataclasses' own; YAML and command line win over them.

    Raises:
        UserError: missing or malformed file, unknown key, wrong type, missing required key.
    """
    from eval.shared.help import ParserWithHelp

    class Parser(ParserWithHelp):
        def error(self, message):
            named = re.match(r"argument (--\w+)", message)
            place = f"{path}: " if path and named and named[1] not in argv else ""
            raise UserError(f"{place}{message} (see --help)")

    argv = list(sys.argv[1:] if argv is None else argv)
    show_all = "--help_all" in argv
    argv = ["--help" if word == "--help_all" else word for word in argv]
    path = _take_config_path(argv)
    where = path or "command line"
    config = _read_config(path, dataclass_types) if path else {}
    typed = _take_structured(argv, dataclass_types)
    _check_types(dataclass_types, config, where)
    _check_types(dataclass_types, typed, "command line")
    config |= typed
    env = config.pop("env", None) or {}
    if not isinstance(env, dict):
        raise UserError(f"{path}: env must map names of environment variables to values")
    os.environ.update({key: str(value) for key, value in env.items()})
    try:
        parser = Parser(dataclass_types, {*config, *(defaults or {})}, show_all)
        parser.set_defaults_with_config(**{**(defaults or {}), **config})
        parsed = parser.parse_args_into_dataclasses(argv)
    except (ValueError, TypeError) as error:
        message = str(error)
        if "are not used by the HfArgumentParser" in message:
            message = f"unknown option {message.split('HfArgumentParser:')[-1].strip()}; see --help_all"
        raise UserError(f"{where}: {message}") from None
    seeds = [getattr(part, "seed", None) for part in parsed]
    negative = [seed for seed in seeds if isinstance(seed, int) and seed < 0]
    if negative:
        raise UserError(f"{where}: seed must be at least 0, but is {negative[0]}")
    return parsed


def _take_config_path(argv: list[str]) -> str | None:
    """The file that follows `--config`, which is taken out of `argv`; None without one."""
    joined = [word for word in argv if word.startswith("--config=")]
    if joined:
        raise UserError(f"write `--config {joined[0][9:]}` with a space")
    if "--config" not in argv:
        return None
    at = argv.index("--config")
    if at + 1 == len(argv):
        raise UserError("--config needs a YAML file")
    path = argv[at + 1]
    del argv[at : at + 2]
    return path


def _read_config(path: str, dataclass_types: tuple[type, ...]) -> dict:
    """The keys of a YAML file, each of which a dataclass must have."""
    import yaml

    if not Path(path).is_file():
        raise UserError(f"config file {path} does not exist; the recipes' YAML files lie in recipes/<model>/")
    try:
        config = yaml.load(Path(path).read_text(), unique_keys(yaml))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} must hold `key: value` lines, but holds {type(config).__name__}")
    refuse_token(config, path)
    known = {f.name for cls in dataclass_types for f in dataclasses.fields(cls)} | {"env"}
    unknown = [str(key) for key in config if key not in known]
    if unknown:
        import difflib

        near = difflib.get_close_matches(unknown[0], known, 1)
        hint = f" (did you mean {near[0]}?)" if near else "; see --help_all for the keys"
        raise UserError(f"{path}: unknown key {', '.join(unknown)}{hint}")
    return config


def _take_structured(argv: list[str], dataclass_types: tuple[type, ...]) -> dict:
    """The options with mappings in them, for which argparse has no type: JSON, taken out of `argv`."""
    structured = {f.name for cls in dataclass_types for f in dataclasses.fields(cls) if "dict" in str(f.type)}
    keys = [word[2:] for word in argv if word.startswith("--") and word[2:] in structured]
    typed = {}
    for key in keys:
        at = argv.index(f"--{key}")
        try:
            typed[key] = json.loads(argv[at + 1])
        except (IndexError, ValueError):
            example = '[{"path": "file.jsonl"}]' if key.endswith("datasets") else '{"key": 1}'
            raise UserError(f"--{key} takes JSON, such as '{example}'") from None
        del argv[at : at + 2]
    return typed


def read_jsonl(path: str | os.PathLike, columns: tuple[str, ...], cure: str) -> list[dict]:
    """The rows of a JSON-lines file that has at least `columns`.

    Raises:
        UserError: the file is missing or empty, or a line is not such a row; `cure` says what writes the file.
    """
    rows = []
    try:
        lines = existing(path, "file", cure).read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}): {cure}") from None
    for number, line in enumerate(lines if any(lines) else [], 1):  # not splitlines(), which also splits at U+2028
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise UserError(f"{path}, line {number} is not JSON: {cure}") from None
        if not isinstance(row, dict) or (missing := [c for c in columns if row.get(c) is None]):
            raise UserError(
                f"{path}, line {number} has no {missing[0] if isinstance(row, dict) else 'columns'}: {cure}"
            )
        rows.append(row)
    if not rows:
        raise UserError(f"{path} is empty: {cure}")
    return rows


@contextlib.contextmanager
def whole(path: str | os.PathLike):
    """A file to write (bytes) that takes its place when all is in it, and leaves nothing behind where that fails."""
    path = Path(path).resolve()  # a link stays one
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value, **options) -> None:
    """Write a record whole, or not at all; `options` are those of `json.dumps`; half a surrogate pair, which is no
    UTF-8, becomes "?"."""
    with whole(path) as file:
        file.write(json.dumps(value, **{"indent": 2, **options}).encode(errors="replace") + b"\n")


def write_jsonl(path: str | os.PathLike, rows: list[dict]) -> None:
    """Write rows whole, or not at all; half a surrogate pair, which is no UTF-8, becomes "?"."""
    with whole(path) as file:
        file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(errors="replace"))


def named_folders(models: list[str], base: list[str] | tuple = ()) -> dict[str, str]:
    """What `--models name=folder …` names, of which `--base` names those that complete text.

    Raises:
        UserError: one has no folder or no name that can be a file's, or two have the same name; `base` names another.
    """
    named = dict(model.split("=", 1) if "=" in model else ("", model) for model in models)
    if (
        not models
        or len(named) < len(models)
        or not all(named.values())
        or not all(re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.-]*", name) for name in named)
    ):
        raise UserError(
            f"--models takes name=folder, each name once and of letters, digits, . _ -, but got: {' '.join(models)}"
        )
    stray = [name for name in base if name not in named]
    if stray:
        raise UserError(f"--base {stray[0]} is none of the models ({', '.join(named)})")
    return named


def sha256(path: str | os.PathLike, cure: str) -> str:
    """The digest of a file, in hexadecimal; a `UserError` with the `cure` where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {cure}") from None


def existing(path: str | os.PathLike, what: str, cure: str) -> Path:
    """The path, if it exists; else a `UserError` that names `what` it is and the `cure`."""
    if not str(path) or not Path(path).exists():
        raise UserError(f"{what} {path} does not exist: {cure}")
    return Path(path)


def output_folder(path: str | os.PathLike) -> Path:
    """Create the output folder, before any work starts.

    Raises:
        UserError: it cannot be written, or less than 256 MiB are free there.
    """
    if not str(path):
        raise UserError("the output folder has no name: give one with --output_dir")
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()  # of its own name: processes of one run look at once
    except OSError as error:
        raise UserError(
            f"cannot write the output folder {path} ({error.strerror}): choose another with --output_dir"
        ) from None
    free = shutil.disk_usage(path).free
    if free < MIN_FREE_BYTES:
        raise UserError(
            f"no space for the output: {path} has {free / 2**20:.0f} MiB free, {MIN_FREE_BYTES / 2**20:.0f} MiB are"
            " needed; free some or choose another --output_dir"
        )
    return path


def output_file(path: str | os.PathLike, inputs: list[str | os.PathLike] | tuple = ()) -> Path:
    """The .json file to write, its folder made before any work starts.

    Raises:
        UserError: it is none that can be written, or it would replace one of the `inputs` or a file below them.
    """
    try:
        if Path(path).suffix != ".json" or (Path(path).exists() and not Path(path).is_file()):
            raise UserError(f"output {path} is no .json file: give one")
        lost = [read for read in inputs if Path(path).resolve().is_relative_to(Path(read).resolve())]
        if lost:
            raise UserError(f"output {path} would replace what is read from {lost[0]}: give another file")
        return output_folder(Path(path).parent) / Path(path).name
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot write the output {str(path)[:100]!r} ({getattr(error, 'strerror', None) or error}): give another"
            " file"
        ) from None
