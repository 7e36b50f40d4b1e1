"""Rollouts of several turns: an environment answers what the policy writes, until one of them ends it.

    rollouts = roll_out(environment.play, rows, draw, tokenizer, max_new_tokens=256)

`play(row, ask)` is a coroutine that asks the policy for its turns and says what the rollout earned. Rollouts run side
by side: as soon as all that are left wait for the policy, their turns are drawn as one batch. What the environment
says becomes tokens as a tool's result does (`eval.generation.tool_loop`), and carries no loss.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from eval.cli import UserError
from eval.generation.call_format import has_tools, keeps_turns, read, steady_template
from eval.generation.encoding import encode_conversation
from eval.generation.results import Generation
from eval.generation.tool_loop import result_ids


class NoRoom(Exception):
    """The tokens of a rollout are used up: there is no next turn."""


@dataclass
class Outcome:
    """What an environment says of a rollout: its reward, None where it has none, and its own figures."""

    reward: float | None
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class Rollout(Generation):
    """One rollout; `text` is that of its last turn, `written` 0 where the environment speaks.

    Attributes:
        prompt_ids: tokens of what the environment began with.
        outcome: what it earned.
    """

    prompt_ids: list[int] = field(default_factory=list)
    outcome: Outcome = field(default_factory=lambda: Outcome(None))


Ask = Callable[..., Awaitable[dict]]
Play = Callable[[dict, Ask], Awaitable[Outcome]]
Draw = Callable[[list[list[int]], int], Sequence[Generation]]  # (token ids, most new tokens) -> a turn behind each


class Conversation:
    """What was said in one rollout, as messages and as tokens.

    Args:
        most: tokens behind the prompt, those of the environment included.
        rendering: for `eval.generation.rendering.render`.
    """

    def __init__(self, tokenizer, most: int, rendering: dict):
        self.tokenizer, self.most, self.rendering = tokenizer, most, rendering
        self.messages: list[dict] = []
        self.begin = 0  # messages of the prompt
        self.prompt_ids: list[int] = []
        self.token_ids: list[int] = []
        self.written: list[int] = []
        self.text, self.ended = "", False

    def hear(self, messages: list[dict], tools: list | None) -> None:
        """Take in the whole conversation as the environment has it.

        Raises:
            NoRoom: the last turn was cut, or what was said since leaves no room for another.
            UserError: the environment has changed what was said before.
        """
        if not self.messages:
            prompt = {"tools": tools or None, "add_generation_prompt": True, **self.rendering}
            self.prompt_ids, _ = encode_conversation(self.tokenizer, messages, **prompt)
            self.messages, self.begin = list(messages), len(messages)
            return
        known, new = self.messages, messages[len(self.messages) :]
        if [_said(m) for m in messages[: len(known)]] != [_said(m) for m in known] or not new:
            raise UserError(
                "the environment changes what was said before instead of adding to it: such rollouts cannot be trained"
                " on as one text"
            )
        ids = result_ids(self.tokenizer, new, **self.rendering)
        if not self.ended or len(self.token_ids) + len(ids) >= self.most:
            raise NoRoom
        self.messages = [*known, *new]
        self.token_ids += ids
        self.written += [0] * len(ids)

    def say(self, turn: Generation) -> dict:
        """The message in the policy's turn."""
        ids = turn.token_ids[: self.most - len(self.token_ids)]
        message = read(self.tokenizer, ids, self.prompt_ids + self.token_ids)
        self.ended = turn.finished and len(ids) == len(turn.token_ids)
        self.token_ids += ids
        self.written += [1] * len(ids)
        self.messages = [*self.messages, message]
        self.text = turn.text
        return message

    def rollout(self, row: dict, outcome: Outcome) -> Rollout:
        """The rollout as it ended; one that never began is an end token that was not written."""
        if not self.token_ids:
            self.hear(row["prompt"], None)
            self.token_ids, self.written = [self.tokenizer.eos_token_id], [0]
        said = self.messages[self.begin :] or [{"role": "assistant", "content": ""}]
        return Rollout(self.text, self.token_ids, self.ended, said, self.written, self.prompt_ids, outcome)


def _said(message: dict) -> tuple:
    return message["role"], message.get("content") or ""


def steady(tokenizer) -> dict:
    """The rendering under which a turn stays as it was when others follow.

    Raises:
        UserError: none is known.
    """
    if not has_tools(tokenizer) or keeps_turns(tokenizer):
        return {}
    try:
        return {"chat_template": steady_template(tokenizer)}
    except ValueError as error:
        raise UserError(f"the chat template renders a turn in another way once others follow ({error})") from None


def roll_out(play: Play, rows: list[dict], draw: Draw, tokenizer, max_new_tokens: int, **rendering) -> list[Rollout]:
    """One rollout of each row, in order.

    Raises:
        UserError: the environment's own, or that of `Conversation`.
    """
    rendering = {**steady(tokenizer), **rendering}
    talks = [Conversation(tokenizer, max_new_tokens, rendering) for _ in rows]
    outcomes = asyncio.run(_play_all(play, rows, talks, draw))
    return [talk.rollout(row, outcome) for talk, row, outcome in zip(talks, rows, outcomes)]


async def _play_all(play: Play, rows: list[dict], talks: list[Conversation], draw: Draw) -> list[Outcome]:
    changed = asyncio.Event()
    waiting: list[tuple[Conversation, asyncio.Future]] = []

    def asking(talk: Conversation) -> Ask:
        async def ask(messages: list[dict], tools: list | None = None) -> dict:
            talk.hear(messages, tools)
            answer = asyncio.get_running_loop().create_future()
            waiting.append((talk, answer))
            changed.set()
            return await answer

        return ask

    tasks = [asyncio.ensure_future(play(row, asking(talk))) for row, talk in zip(rows, talks)]
    for task in tasks:
        task.add_done_callback(lambda _: changed.set())
    while not all(task.done() for task in tasks):
        changed.clear()
        batch = [(talk, answer) for talk, answer in waiting if not answer.done()]  # without those that gave up
        if len(batch) == sum(not task.done() for task in tasks):
            waiting.clear()
            _answer(batch, draw)
        await changed.wait()
        for task in tasks:
            if task.done():
                task.result()  # raises what it raised; the others are cancelled
    return [task.result() for task in tasks]


def _answer(batch: list[tuple[Conversation, asyncio.Future]], draw: Draw) -> None:
    """Draw a turn for each conversation that waits."""
    room = max(talk.most - len(talk.token_ids) for talk, _ in batch)
    turns = draw([talk.prompt_ids + talk.token_ids for talk, _ in batch], room)
    for (talk, answer), turn in zip(batch, turns):
        answer.set_result(talk.say(turn))
