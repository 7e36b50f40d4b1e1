"""One part of the mixture: its rows, and the conversation that each becomes."""

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
        if self.kind == "talks":
            self._group(*spec["turns"])

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

    def _group(self, least: int, most: int) -> None:
        """Draw which rows are joined to one talk."""
        order = self.rng.sample(range(len(self.rows)), len(self.rows))
        self.groups: list[list[int]] = []
        start = 0
        while True:
            group = order[start : start + self.rng.randint(least, most)]
            if not group:
                return
            self.groups.append(group)
            start += len(group)

    def __len__(self) -> int:
        return len(self.groups if self.kind == "talks" else self.rows)

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
        if self.kind == "talks":
            return self._joined(self.groups[i])
        messages = self.rows[i]["messages"]
        if "systems" not in self.spec or messages[0]["role"] == "system":
            return messages
        system = self.rng.choice(self.spec["systems"])
        return messages if system is None else [{"role": "system", "content": system}, *messages]

    def _joined(self, group: list[int]) -> list[dict]:
        talks = [self.rows[k]["messages"] for k in group]
        if any(talk[0]["role"] == "system" for talk in talks[1:]):
            raise UserError(
                f"part {self.name}: a row with a system message cannot be joined to another: take rows without"
            )
        return [message for talk in talks for message in talk]
