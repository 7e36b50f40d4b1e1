"""A person decides on each call of a tool before it runs: allows, edits or refuses it, or stops the job.

    approval = Approval(ask)
    talk = Talk(model, tokenizer, [approval.guarded(tool) for tool in tools])
    approval.begin(); approval.decide(message)      # for each message of a reply, before its calls run
    approval.counts                                 # how many decisions the job took: {"allow": 2, "edit": 1, …}

`python -m recipes.chat --approve` and the page of `--web --approve` use it. A call that was edited runs as the person
wrote it, and its result says so, since the model reads its own call before it. A call that was refused has an error
for its result, like any call that fails, and the model goes on. A call runs only with a decision of its own: without
one it is refused.
"""

import contextlib
import functools
import json
import queue
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass

from eval.cli import UserError

KINDS = ("allow", "edit", "refuse")
REFUSED = "a person refused this call"


@dataclass(frozen=True)
class Call:
    """What a person is asked about; `number` counts the calls of the job from 1, `seconds` are since it began."""

    number: int
    seconds: float
    name: str
    arguments: dict


@dataclass(frozen=True)
class Decision:
    """`kind` is one of `KINDS`; with "edit" `arguments` take the place of the model's."""

    kind: str
    arguments: dict | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"a decision is one of {', '.join(KINDS)}, but is {self.kind!r}")
        if (self.kind == "edit") != isinstance(self.arguments, dict):
            raise ValueError("an edit, and nothing else, holds arguments")


class Refused(Exception):
    """What the model is told of a call that a person refused."""


class StopJob(Exception):
    """A person stopped the job."""


class Approval:
    """Decisions on the calls of one job at a time.

    Args:
        ask: from a `Call` to a `Decision`; it raises `StopJob` (or an exception of its own) to stop the job.
    """

    def __init__(self, ask: Callable[[Call], Decision]):
        self.ask = ask
        self.begin()

    def begin(self) -> None:
        """A new job: no decision is left of the last one."""
        self.counts: Counter = Counter()
        self.begun = time.monotonic()
        self._decided: deque[tuple[str, Decision]] = deque()
        self._lock = threading.Lock()

    def decide(self, message: dict) -> None:
        """Ask about each call of a message, in the order in which they run. To be called before they do, in the thread
        that samples."""
        for call in message.get("tool_calls") or []:
            function = call.get("function", call)
            number = sum(self.counts.values()) + 1
            seconds = time.monotonic() - self.begun
            decision = self.ask(Call(number, seconds, function["name"], function["arguments"]))
            self.counts[decision.kind] += 1
            with self._lock:
                self._decided.append((function["name"], decision))

    def guarded(self, tool: Callable) -> Callable:
        """The tool, which runs as it was decided."""

        @functools.wraps(tool)
        def run(*args, **kwargs):
            decision = self._next(tool.__name__)
            if decision.kind == "refuse":
                raise Refused(REFUSED)
            if decision.kind == "allow":
                return tool(*args, **kwargs)
            result = tool(**decision.arguments)
            return f"(a person changed this call to {json.dumps(decision.arguments, ensure_ascii=False)}) {result}"

        return run

    def _next(self, name: str) -> Decision:
        """The decision on the next call of a tool. Those on calls before it that did not run, as there is no tool of
        that name, are over."""
        with self._lock:
            while self._decided:
                decided, decision = self._decided.popleft()
                if decided == name:
                    return decision
        return Decision("refuse")

    def told(self) -> str:
        """How many decisions the job took, in words; "" for none."""
        total = sum(self.counts.values())
        if not total:
            return ""
        words = {"allow": "allowed", "edit": "edited", "refuse": "refused"}
        parts = ", ".join(f"{self.counts[kind]} {words[kind]}" for kind in KINDS if self.counts[kind])
        return f"a person decided {total} {'time' if total == 1 else 'times'}: {parts}"


class Desk:
    """Where calls wait for a person: the page is asked by an event, and its answer comes with another request."""

    def __init__(self):
        self.waiting: dict[str, queue.SimpleQueue] = {}

    def ask(self, put, stopped: threading.Event, call: Call) -> Decision:
        """Put the call to the page and wait for its decision.

        Raises:
            StopJob: the person stops the job, or nobody waits for the reply any more.
        """
        ticket = secrets.token_urlsafe(12)
        answers = self.waiting[ticket] = queue.SimpleQueue()
        try:
            put({"ask": {"ticket": ticket, **asdict(call)}})
            while not stopped.is_set():
                with contextlib.suppress(queue.Empty):
                    answer = answers.get(timeout=0.2)
                    if answer is None:
                        raise StopJob
                    return answer
        finally:
            del self.waiting[ticket]
        raise StopJob

    def decide(self, ticket: str, decision: Decision | None) -> None:
        """What the page answers; None stops the job.

        Raises:
            UserError: nothing waits for it, as it was decided or the reply is over.
        """
        answers = self.waiting.get(ticket)
        if answers is None:
            raise UserError("this call waits for no decision any more")
        answers.put(decision)


def ask_in_terminal(call: Call) -> Decision:
    """Ask at the keyboard, or of what is piped in; the end of the input stops the job.

    Raises:
        StopJob: the person stops it.
    """
    start = f"  | call {call.number} · {call.seconds:.0f} s · run {call.name}?"
    while True:
        answer = _typed(f"{start} Enter: yes, e: edit, n: no, s: stop the job > ").lower()
        if answer in ("", "y", "yes"):
            return Decision("allow")
        if answer in ("n", "no"):
            return Decision("refuse")
        if answer in ("s", "stop"):
            raise StopJob
        if answer in ("e", "edit"):
            arguments = read_arguments(_typed(f"  | {wanted(call.arguments)} > "), call.arguments)
            if arguments is not None:
                return Decision("edit", arguments)
            print("  | not read: it must be a JSON object with the same names", flush=True)


def wanted(arguments: dict) -> str:
    """What a person types to edit the arguments."""
    (only, *more) = arguments or ("",)
    if not more and isinstance(arguments.get(only), str):
        return f"{only} instead of {arguments[only]!r}"
    return f"arguments instead of {json.dumps(arguments, ensure_ascii=False)}"


def read_arguments(text: str, arguments: dict) -> dict | None:
    """The arguments that a person typed: of a call with one text the text, else JSON with the same names; None where
    it is neither."""
    values = list(arguments.values())
    if len(values) == 1 and isinstance(values[0], str):
        return dict.fromkeys(arguments, text)
    try:
        typed = json.loads(text)
    except ValueError:
        return None
    return typed if isinstance(typed, dict) and typed.keys() == arguments.keys() else None


def _typed(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:
        raise StopJob from None
