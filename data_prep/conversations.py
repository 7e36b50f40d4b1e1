"""Conversations for SFT, mixed from a YAML.

    python -m data_prep.conversations --config recipes/tiny/conversations.yaml

Writes `train.jsonl` and `validation.jsonl` (no row of a source is in both) with `messages`, `kind` (the part's name)
and, where a part or a row of a source has tools, `tools` (their JSON schemas as a string, as TRL reads them). A part
is a mapping:

    - {name: talk, share: 0.6, datasets: [{path: HuggingFaceTB/smol-smoltalk, split: train}]}

- `share` of the `rows`; a source that has fewer is repeated, one that has more is drawn from.
- `datasets`: sources (see `data_prep.shared.sources`) of conversations in any form that `data_prep.schemas` knows.
  `where: {column: [values]}` takes some of their rows.
- `tools` (see `eval.generation.tool_loop.load_tools`): what the assistant is told it may call; rows that have `tools`
  of their own keep them.
- `systems`: system messages, one of which is drawn for each row without one; null is none, so that
  `[null, "Be brief."]` teaches both.
- `kind: talks`: `turns: [least, most]` rows, one after the other: a change of subject.
- `kind: identity`: who the model is, from `file` (data_prep/identity.yaml); with `override: true` who it is where a
  system message says so.
- `kind: tool_use`: rows of `question`, `tool`, `query`, `reply` become a call, its result and the reply. The call is
  run, and what it returned decides: `{result}` in the reply is filled in; with `evidence` each of its strings must
  stand in the result, else the row's `otherwise` is the reply, or without one the row is dropped; with `answer` and
  `verifier` the reply must be right. What is dropped is counted.

`data_prep/labelling_guidelines.md` says what a good answer is.
"""

import fcntl
import inspect
import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.schemas.conversations import turns as said
from data_prep.shared.progress import Progress
from data_prep.shared.sources import chosen, keep, load_sources, refuse_drafts
from eval.cli import UserError, command, existing, output_folder, parse, user_errors
from eval.generation.models import load_tokenizer
from eval.generation.tool_loop import Toolbox, load_tools

KEYS = {
    "messages": {"name", "share", "datasets", "where", "tools", "systems"},
    "talks": {"name", "share", "datasets", "where", "tools", "kind", "turns"},
    "identity": {"name", "share", "kind", "file", "override", "tools"},
    "tool_use": {"name", "share", "kind", "datasets", "where", "tools"},
}
TIME_LIMIT = 60.0  # seconds of one call


@dataclass
class ConversationsArguments:
    parts: list[dict] = field(metadata={"help": "the mixture, a mapping each; see the module's docstring"})
    output_dir: str = field(metadata={"help": "folder for train.jsonl and validation.jsonl"})
    rows: int = field(metadata={"help": "rows for training"})
    validation_rows: int = field(default=0, metadata={"help": "rows for validation, in the same shares"})
    tokenizer: str | None = field(
        default=None, metadata={"help": "whose template shows calls and results; needed with tools"}
    )
    chat_template: str | None = field(
        default=None, metadata={"help": "Jinja file in place of the tokenizer's template, as recipes.sft takes it"}
    )
    max_result_tokens: int = field(default=256, metadata={"help": "of a tool's result, which is cut there"})
    seed: int = field(default=0, metadata={"help": "of drawing and order"})


def check_parts(parts: list[dict]) -> None:
    """Raises `UserError` for a part with a missing or unknown key, or shares that do not add up to 1."""
    if not parts:
        raise UserError(
            "parts is empty: give at least one, such as {name: talk, share: 1.0, datasets: [{path: talk.jsonl}]}"
        )
    names = [part.get("name") if isinstance(part, dict) else part for part in parts]
    for name, part in zip(names, parts):
        if not isinstance(part, dict) or not isinstance(name, str) or names.count(name) > 1:
            raise UserError(f"parts: each must be a mapping with a `name` of its own, but there is {part!r}"[:300])
        kind = part.get("kind", "messages")
        if not isinstance(kind, str) or kind not in KEYS:
            raise UserError(f"part {name}: kind must be left out or one of {', '.join(list(KEYS)[1:])}, but is {kind}")
        needs = {
            "share",
            *({"file"} if kind == "identity" else {"datasets"}),
            *({"tools"} if kind == "tool_use" else {"turns"} if kind == "talks" else set()),
        }
        wrong = (set(part) - KEYS[kind]) | (needs - set(part))
        if wrong:
            raise UserError(
                f"part {name}: missing or unknown key {', '.join(sorted(map(str, wrong)))}; it needs name,"
                f" {', '.join(sorted(needs))} and can have {', '.join(sorted(KEYS[kind] - needs - {'name'}))}"
            )
        turns = part.get("turns", [1, 1])
        if not (
            isinstance(turns, list)
            and len(turns) == 2
            and all(isinstance(n, int) for n in turns)
            and 1 <= turns[0] <= turns[1]
        ):
            raise UserError(f"part {name}: turns must be [least, most] with 1 <= least <= most, but is {turns}")
        if not isinstance(part["share"], (int, float)) or not part["share"] > 0:
            raise UserError(f"part {name}: share must be above 0, but is {part['share']}")
        if not isinstance(part.get("where") or {}, dict) or not isinstance(part.get("override") or False, bool):
            raise UserError(
                f"part {name}: where must be {{column: [values]}} and override true or false, but they are"
                f" {part.get('where')} and {part.get('override')}"
            )
        systems = part.get("systems", [None])
        if (
            not isinstance(systems, list)
            or not systems
            or any(not isinstance(s, str | None) or s == "" for s in systems)
        ):
            raise UserError(f"part {name}: systems must be a list of texts or null, but is {systems!r}"[:300])
        tools = part.get("tools") or []
        if (
            not isinstance(tools, list)
            or not all(isinstance(tool, str) for tool in tools)
            or (kind == "tool_use" and not tools)
        ):
            raise UserError(
                f"part {name}: tools must be a list of names, such as [python, search=<index folder>], but is"
                f" {part.get('tools')}"
            )
    if abs(sum(part["share"] for part in parts) - 1) > 1e-6:
        raise UserError(
            f"the shares of the parts must add up to 1, but add up to {sum(part['share'] for part in parts):g}"
        )


def identity(path: str, override: bool) -> list[list[dict]]:
    """Each question about the model and its reply; with `override` each name, system message and question whose reply
    is no more than the name.

    Raises:
        UserError: the file is no such YAML.
    """
    import yaml

    try:
        spec = yaml.safe_load(
            existing(path, "identity", "take data_prep/identity.yaml as a pattern").read_text(encoding="utf-8")
        )
        texts = [r["reply"] for r in spec["replies"]] + (
            spec["names"] + spec["systems"] if override else [spec["name"]]
        )  # of a string and a list there is no sum
        wrong = [text for text in texts if not isinstance(text, str)] + [
            r["asks"] for r in spec["replies"] if not isinstance(r["asks"], list)
        ]
        if wrong:
            raise TypeError(f"{wrong[0]!r} where a text, or a list of texts, should be")
        pairs = [
            (ask[0].upper() + ask[1:], r["reply"])
            for r in spec["replies"]
            for ask in r["asks"]
            if not (override and r.get("own"))
        ]
        names = (
            [(name, system) for name in spec["names"] for system in spec["systems"]]
            if override
            else [(spec["name"], None)]
        )
        return [
            said(
                *([("system", system.format(name=name))] if system else []),
                ("user", ask),
                ("assistant", reply.format(name=name)),
            )
            for name, system in names
            for ask, reply in pairs
        ]
    except (yaml.YAMLError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(
            f"{path} is not as data_prep/identity.yaml: name, replies (reply, asks), systems, names"
            f" ({type(error).__name__}: {error})"
        ) from None


def run_calls(calls: list[tuple[str, str]], functions: dict[str, Callable], what: str) -> list[str]:
    """The results of (tool, argument), in order, some at a time."""
    from eval.generation.tool_loop import Runner

    runner, progress, results = Runner(functions, TIME_LIMIT), Progress(what), {}
    for at, (tool, argument) in enumerate(calls):
        runner.start(at, tool, {argument_of(functions[tool]): argument})
    while len(results) < len(calls):
        results |= {at: text for at, _, text in runner.done(wait=True)}
        progress(len(results), "calls", len(results) / len(calls))
    runner.close()
    return [results[at] for at in range(len(calls))]


def argument_of(function: Callable) -> str:
    """The name of its first argument; a `UserError` where it has none, or needs more."""
    first, *others = [*inspect.signature(function).parameters.values()] or [None]
    if first is None or any(other.default is other.empty for other in others):
        raise UserError(
            f"the tool {function.__name__} cannot be called with a row's query: tool_use takes functions of one"
            " argument"
        )
    return first.name


def with_call(row: dict, result: str, argument: str) -> list[dict] | str:
    """The conversation of a row of tool_use, or why there is none."""
    from eval.verifiers import get_verifier

    reply = row["reply"].replace("{result}", result)
    if any(text not in result for text in row.get("evidence") or []):
        reply = row.get("otherwise")
        if not reply:
            return "the result lacks the evidence"
    elif row.get("verifier"):
        try:
            right = get_verifier(row["verifier"])(
                reply, **{column: value for column, value in row.items() if column != "completion"}
            )
        except (TypeError, AttributeError) as error:
            raise UserError(
                f"the verifier {row['verifier']} cannot judge the row with the question {row['question'][:80]!r}"
                f" ({error}): give it the columns that it reads, such as answer"
            ) from None
        if right != 1:
            return "the reply is wrong"
    call = {"type": "function", "function": {"name": row["tool"], "arguments": {argument: row["query"]}}}
    asked = [*said(("user", row["question"])), {"role": "assistant", "content": "", "tool_calls": [call]}]
    return [*asked, {"role": "tool", "name": row["tool"], "content": result}, *said(("assistant", reply))]


class Part:
    """One part of the mixture: `len(part)` conversations, `part[i]` one of them (None where a call did not bear its
    reply out)."""

    def __init__(self, spec: dict, args: ConversationsArguments):
        self.spec, self.name, self.kind = spec, spec["name"], spec.get("kind", "messages")
        self.tools = load_tools(spec.get("tools") or [])
        self.dropped, self.own_tools, self.shown, self.read = Counter(), False, None, []
        self.rng = random.Random(f"{args.seed}-{self.name}")
        if self.tools:
            from transformers.utils import get_json_schema

            if not args.tokenizer:
                raise UserError(
                    f"part {self.name} has tools: give the tokenizer whose template shows calls and results"
                )
            tokenizer = load_tokenizer(args.tokenizer)
            if args.chat_template:
                template = existing(args.chat_template, "chat template", "give a Jinja file")
                tokenizer.chat_template = template.read_text(encoding="utf-8")
            self.box = Toolbox(tokenizer, self.tools, args.max_result_tokens, TIME_LIMIT)
            self.shown = json.dumps([get_json_schema(tool) for tool in self.tools])
        if self.kind == "identity":
            self.rows = identity(spec["file"], spec.get("override", False))
            if not self.rows:
                raise UserError(f"part {self.name}: {spec['file']} has no question for it")
            return

        def prepare(data, source):
            return refuse_drafts(chosen(data, spec.get("where") or {}, f"part {self.name}"))

        with user_errors(f"part {self.name}: its datasets do not go together, give each a part of its own"):
            self.rows, self.read = load_sources(
                spec["datasets"], None if self.kind == "tool_use" else "messages", seed=args.seed, prepare=prepare
            )
        self.own_tools = "tools" in self.rows.column_names and any(self.rows["tools"])
        if self.own_tools and (self.tools or self.kind != "messages"):
            raise UserError(
                f"part {self.name}: its rows have `tools` of their own:"
                f" {'leave out the tools of the part' if self.tools else 'rows with other tools cannot be joined'}, or"
                " select rows without"
            )
        if self.kind == "talks":
            least, most = spec["turns"]
            order = iter(self.rng.sample(range(len(self.rows)), len(self.rows)))
            self.groups = list(iter(lambda: list(itertools.islice(order, self.rng.randint(least, most))), []))

    def __len__(self) -> int:
        return len(self.groups if self.kind == "talks" else self.rows)

    def prepare(self, wanted: list[int]) -> None:
        """Run the calls of these rows."""
        if self.kind != "tool_use":
            return
        functions, rows = self.box.functions, {i: self.rows[i] for i in wanted}
        for row in rows.values():
            missing = [
                column for column in ("question", "tool", "query", "reply") if not isinstance(row.get(column), str)
            ]
            if missing:
                raise UserError(
                    f"part {self.name}: a row has no {missing[0]}; tool_use reads question, tool, query, reply"
                )
            evidence, otherwise = row.get("evidence"), row.get("otherwise")
            if not isinstance(evidence or [], list) or not all(
                isinstance(text, str) for text in [*(evidence or []), otherwise or ""]
            ):
                problem = (
                    f"part {self.name}: evidence must be a list of texts and otherwise a text, but in a row they are"
                    f" {evidence!r} and {otherwise!r}"
                )
                raise UserError(problem[:300])
            if row["tool"] not in functions:
                raise UserError(
                    f"part {self.name}: a row calls {row['tool']}, but the part's tools are {', '.join(functions)}"
                )
        results = run_calls([(row["tool"], row["query"]) for row in rows.values()], functions, self.name)
        self.done = {
            i: with_call(row, self.box.content(result), argument_of(functions[row["tool"]]))
            for (i, row), result in zip(rows.items(), results)
        }
        self.dropped = Counter(done for done in self.done.values() if isinstance(done, str))

    def tools_of(self, i: int) -> str | None:
        """The JSON schemas that a row shows."""
        tools = self.rows[i]["tools"] if self.own_tools else self.shown
        return tools if isinstance(tools, str) else json.dumps(tools) if tools else None

    def __getitem__(self, i: int) -> list[dict] | None:
        if self.kind == "identity":
            return self.rows[i]
        if self.kind == "tool_use":
            return None if isinstance(self.done[i], str) else self.done[i]
        if self.kind == "talks":
            talks = [self.rows[k]["messages"] for k in self.groups[i]]
            if any(talk[0]["role"] == "system" for talk in talks[1:]):
                raise UserError(
                    f"part {self.name}: a row with a system message cannot be joined to another: take rows without"
                )
            return [message for talk in talks for message in talk]
        messages = self.rows[i]["messages"]
        if "systems" not in self.spec or messages[0]["role"] == "system":
            return messages
        system = self.rng.choice(self.spec["systems"])
        return messages if system is None else [{"role": "system", "content": system}, *messages]


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((ConversationsArguments,), argv)
    from datasets import disable_progress_bars

    check_parts(args.parts)
    for key, least in (("rows", 1), ("validation_rows", 0), ("max_result_tokens", 1), ("seed", 0)):
        value = getattr(args, key)
        if value < least:
            raise UserError(f"{key} must be at least {least}, but is {value}")
    none = [part["name"] for part in args.parts if not round(part["share"] * args.rows)]
    if none:
        raise UserError(f"part {none[0]}: its share of {args.rows:,} rows is less than one: raise its share, or rows")
    disable_progress_bars()
    parts = [Part(spec, args) for spec in args.parts]
    out = output_folder(args.output_dir)

    chosen = {"train": [], "validation": []}  # (part, row)
    for part in parts:
        order = part.rng.sample(range(len(part)), len(part))
        held_out = round(part.spec["share"] * args.validation_rows)
        if held_out >= len(order):
            raise UserError(
                f"part {part.name} has {len(order)} rows, of which {held_out} would be for validation: lower"
                " validation_rows"
            )
        chosen["validation"] += [(part, i) for i in order[:held_out]]
        chosen["train"] += [
            (part, i)
            for i in itertools.islice(itertools.cycle(order[held_out:]), round(part.spec["share"] * args.rows))
        ]
        part.prepare(sorted({i for rows in chosen.values() for other, i in rows if other is part}))
    for rows in chosen.values():
        random.Random(args.seed).shuffle(rows)
    write(
        {out / f"{split}.jsonl": rows for split, rows in chosen.items()},
        any(part.tools or part.own_tools for part in parts),
    )
    calls = [
        {"path": part.name, "form": "calls", "rows_in": len(part), "left_out": dict(part.dropped)} for part in parts
    ]
    keep(out, [*itertools.chain(*(part.read for part in parts)), *(part for part in calls if part["left_out"])])
    for part in parts:
        dropped = "".join(f", {n:,} dropped as {why}" for why, n in part.dropped.items())
        print(f"{part.name:<20} {sum(p is part for p, _ in chosen['train']):>7,} of {len(part):,}{dropped}")


def write(files: dict[Path, list[tuple[Part, int]]], tools: bool) -> None:
    """The rows of each file as JSON lines; the files appear when all of them are whole, one without rows goes."""
    temporary = {path: path.with_suffix(".part") for path in files}
    lock = os.open(next(iter(files)).parent, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # another run that writes here at this time comes first
    try:
        for path, rows in files.items():
            progress, count = Progress(str(path)), 0
            with temporary[path].open("w", encoding="utf-8") as lines:
                for number, (part, i) in enumerate(rows, 1):
                    progress(number, "rows", number / len(rows))
                    messages = part[i]
                    if messages is None:
                        continue
                    row = {"messages": messages, "kind": part.name} | ({"tools": part.tools_of(i)} if tools else {})
                    lines.write(json.dumps(row, ensure_ascii=False) + "\n")
                    count += 1
            if rows and not count:
                raise UserError(f"{path} would be empty: every row was dropped")
        for path in files:  # those of another run do not go together with these
            path.unlink(missing_ok=True)
        for path, rows in files.items():
            if rows:
                os.replace(temporary[path], path)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
        os.close(lock)


if __name__ == "__main__":
    main()
