"""One part of the mixture: its rows, and the conversation that each becomes."""

import itertools
import json
import random
from collections import Counter
from typing import Any

from data_prep.mixture.arguments import ConversationsArguments
from data_prep.mixture.identity import identity
from data_prep.mixture.tool_use import TIME_LIMIT, argument_of, check_row, run_calls, with_call
from data_prep.shared.sources import chosen, load_sources, refuse_drafts
from eval.cli import UserError, user_errors
from eval.generation.models import load_tokenizer, replace_chat_template
from eval.generation.tool_loop import Toolbox, load_tools


class Part:
    """One part of the mixture: `len(part)` conversations, `part[i]` one of them (None where a call did not bear its
    reply out)."""

    def __init__(self, spec: dict, args: ConversationsArguments):
        self.spec, self.name, self.kind = spec, spec["name"], spec.get("kind", "messages")
        self.rng = random.Random(f"{args.seed}-{self.name}")
        self.dropped: Counter[str] = Counter()  # why calls were, and how many
        self.read: list[dict] = []  # of each source its path, form and counts
        self.tools = load_tools(spec.get("tools") or [])
        self.schemas: str | None = None  # of the part's tools, as JSON
        if self.tools:
            self._show_tools(args)
        self.rows: Any  # conversations, or a `datasets.Dataset`
        self.own_tools = False
        if self.kind == "identity":
            self.rows = identity(spec["file"], spec.get("override", False))
            if not self.rows:
                raise UserError(f"part {self.name}: {spec['file']} has no question for it")
            return
        self._read_rows(args.seed)

    def _show_tools(self, args: ConversationsArguments) -> None:
        from transformers.utils import get_json_schema

        if not args.tokenizer:
            raise UserError(f"part {self.name} has tools: give the tokenizer whose template shows calls and results")
        tokenizer = load_tokenizer(args.tokenizer)
        replace_chat_template(tokenizer, args.chat_template)
        self.box = Toolbox(tokenizer, self.tools, args.max_result_tokens, TIME_LIMIT)
        self.schemas = json.dumps([get_json_schema(tool) for tool in self.tools])

    def _read_rows(self, seed: int) -> None:
        def prepare(data, source):
            return refuse_drafts(chosen(data, self.spec.get("where") or {}, f"part {self.name}"))

        goal = None if self.kind == "tool_use" else "messages"
        with user_errors(f"part {self.name}: its datasets do not go together, give each a part of its own"):
            self.rows, self.read = load_sources(self.spec["datasets"], goal, seed=seed, prepare=prepare)
        self.own_tools = "tools" in self.rows.column_names and any(self.rows["tools"])
        if self.own_tools and (self.tools or self.kind != "messages"):
            cure = "leave out the tools of the part" if self.tools else "rows with other tools cannot be joined"
            raise UserError(f"part {self.name}: its rows have `tools` of their own: {cure}, or select rows without")

    def __len__(self) -> int:
        return len(self.rows)

    def prepare(self, wanted: list[int]) -> None:
        """Run the calls of these rows."""
        if self.kind != "tool_use":
            return
        functions, rows = self.box.functions, {i: self.rows[i] for i in wanted}
        for row in rows.values():
            check_row(row, functions, self.name)
        results = run_calls([(row["tool"], row["query"]) for row in rows.values()], functions, self.name)
        self.done = {
            i: with_call(row, self.box.content(result), argument_of(functions[row["tool"]]))
            for (i, row), result in zip(rows.items(), results)
        }
        self.dropped = Counter(done for done in self.done.values() if isinstance(done, str))

    def tools_of(self, i: int) -> str | None:
        """The JSON schemas that a row shows."""
        tools = self.rows[i]["tools"] if self.own_tools else self.schemas
        if isinstance(tools, str):
            return tools
        return json.dumps(tools) if tools else None

    def __getitem__(self, i: int) -> list[dict] | None:
        if self.kind == "identity":
            return self.rows[i]
        if self.kind == "tool_use":
            made = self.done[i]
            return None if isinstance(made, str) else made
        messages = self.rows[i]["messages"]
        if "systems" not in self.spec or messages[0]["role"] == "system":
            return messages
        system = self.rng.choice(self.spec["systems"])
        return messages if system is None else [{"role": "system", "content": system}, *messages]


Rows = list[tuple["Part | Talks", int]]  # (part, number of its row)


class Talks:
    """Rows of other parts, one after the other: a change of subject. `talks[i]` is one conversation (None where every
    row of it was dropped)."""

    def __init__(self, spec: dict, seed: int, parts: list[Part]):
        self.spec, self.name = spec, spec["name"]
        self.rng = random.Random(f"{seed}-{self.name}")
        self.parts = [part for part in parts if part.name in spec["of"]]
        self.schemas = self.parts[0].schemas
        self.groups: list[Rows] = []
        if any(part.own_tools or part.schemas != self.schemas for part in self.parts):
            raise UserError(f"part {self.name}: rows with other tools cannot be joined: name parts that have the same")

    def draw(self, rows: Rows, count: int) -> list[int]:
        """Numbers of `count` new talks, of those of `rows` that are of its parts, each once before any comes again.

        Raises:
            UserError: there are talks to draw, but none of its parts has a row.
        """
        rows = [(part, i) for part, i in rows if part in self.parts]
        if count and not rows:
            raise UserError(f"part {self.name}: none of its parts has a row to join: raise rows or validation_rows")
        first = len(self.groups)
        least, most = self.spec["turns"]
        shuffled = (row for _ in itertools.count() for row in self.rng.sample(rows, len(rows)))
        for _ in range(count):
            self.groups.append(list(itertools.islice(shuffled, self.rng.randint(least, most))))
        return list(range(first, len(self.groups)))

    def tools_of(self, i: int) -> str | None:
        """The JSON schemas that a row shows."""
        return self.schemas

    def __getitem__(self, i: int) -> list[dict] | None:
        talks = [messages for part, k in self.groups[i] if (messages := part[k]) is not None]
        if any(talk[0]["role"] == "system" for talk in talks[1:]):
            raise UserError(
                f"part {self.name}: a row with a system message cannot be joined to another: take parts without"
            )
        return [message for talk in talks for message in talk] or None
