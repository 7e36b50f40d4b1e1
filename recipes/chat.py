"""Talk to a model, at any stage: in the terminal, or on a web page.

    python -m recipes.chat --model runs/tiny/sft
    python -m recipes.chat --model runs/tiny/sft --system "Be brief." --temperature 0 --tools python
    python -m recipes.chat --model runs/tiny/honest --tools python search=runs/tiny/index --approve
    python -m recipes.chat --model runs/tiny/base
    python -m recipes.chat --web --run runs/tiny

Each line is a message; the reply comes as it is written, with the model's thinking, its calls of tools (⟶) and their
results (⟵) indented. `/help` says what to ask (`recipes.chat_ui.starters`) and `/3` asks the third of it, `/reset`
begins a new conversation, Ctrl-C stops a reply, `/quit` or Ctrl-D ends. With `--approve` each call of a tool waits for
a person (`recipes.chat_ui.approve`), and how many decisions a job took is printed behind it. A base model (without
chat template, or pretrained here) continues each line instead; so does any model with `--complete`. Lines can come
from a pipe, too; they are printed before their replies. The page has all that and more: `recipes.chat_ui.web`.
"""

import ast
import io
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.cli import UserError, command, parse
from recipes.chat_ui.approve import Approval, StopJob, ask_in_terminal
from recipes.chat_ui.session import Listener, NoRoom, Talk, check_sampling, completes, cut, load_model
from recipes.chat_ui.starters import Starter, fitting, stage_of, starters

INDENT, CALL, RESULT = "  | ", "⟶ ", "⟵ "


@dataclass
class ChatArguments:
    model: str | None = field(default=None, metadata={"help": "folder of a stage, or a Hub id"})
    system: str | None = field(default=None, metadata={"help": "system message"})
    temperature: float = field(default=0.7, metadata={"help": "0 is greedy"})
    max_new_tokens: int = field(default=512, metadata={"help": "of one reply, its tools' results included"})
    tools: list[str] = field(
        default_factory=list,
        metadata={"help": "what the model may call: python, search=<index folder> or module:function"},
    )
    approve: bool = field(
        default=False,
        metadata={
            "help": "ask before each call of a tool runs: a person allows, edits or refuses it, or stops the job"
        },
    )
    complete: bool = field(default=False, metadata={"help": "continue each line as text instead of answering it"})
    seed: int | None = field(default=None, metadata={"help": "of sampling; unset: other replies each time"})
    web: bool = field(default=False, metadata={"help": "a web page instead of the terminal"})
    models: list[str] = field(
        default_factory=list, metadata={"help": "with web: name=folder (or Hub id) of each model to choose from"}
    )
    run: str | None = field(
        default=None,
        metadata={"help": "with web: folder of a run: all its language models, its tools, and its file of votes"},
    )
    votes: str | None = field(default=None, metadata={"help": "with web: .jsonl file that blind votes are added to"})
    host: str = field(default="127.0.0.1", metadata={"help": "with web: address to listen at; 0.0.0.0 is all"})
    port: int = field(default=7860, metadata={"help": "with web: port to listen at"})


class Screen(Listener):
    """Prints a reply while it is written.

    Args:
        marks: control tokens, which are left out where a reply spells them; the page shows every token.
        approval: who decides on calls; None: they run unasked.
    """

    def __init__(self, marks: Sequence[str] = (), approval: Approval | None = None):
        self.region, self.unread, self.approval = "", "", approval
        self.marks = re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True))) or "(?!)")

    def text(self, field: str, text: str) -> None:
        if field == "tool_calls":  # comes as a message when it is whole, where there are tools
            self.unread += text
            return
        thinks = field != "content"
        text = self.marks.sub("", text)
        if text:
            self._enter(field, f"{INDENT}thinking: " if thinks else "")
            print(text.replace("\n", f"\n{INDENT}") if thinks else text, end="", flush=True)

    def message(self, message: dict) -> None:
        self.unread = ""
        for call in message.get("tool_calls") or []:
            function = call.get("function", call)
            self._block(f"{CALL}{function['name']}: ", _words(function["arguments"]))
        if self.approval:
            self.approval.decide(message)
        if message["role"] == "tool":
            self._block(RESULT, _error(message["content"]) or message["content"])

    def end(self, note: str = "") -> None:
        """The reply is over; `note` says what is to be known of it."""
        call = self.marks.sub("", self.unread).strip()
        if call:
            self._block(f"{CALL}not run, as there are no tools: ", call)
        self._enter("")
        if note:
            print(f"({note})", flush=True)

    def _enter(self, region: str, start: str = "") -> None:
        if region != self.region:
            print(("\n" if self.region else "") + start, end="", flush=True)
            self.region = region

    def _block(self, start: str, text: str) -> None:
        self._enter("")
        text = start + text.replace("\n", f"\n{' ' * len(CALL)}")
        print(textwrap.indent(text, INDENT, lambda line: True), flush=True)


def _words(arguments: dict | str) -> str:
    """The arguments of a call as a person reads them: a single text as it is."""
    if not isinstance(arguments, dict):
        return str(arguments)
    values = list(arguments.values())
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())


def _error(result: str) -> str | None:
    """What went wrong in words, where a result is the `{'error': '…'}` that the model is given."""
    try:
        value = ast.literal_eval(result)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return f"error: {value['error']}" if isinstance(value, dict) and value.keys() == {"error"} else None


def replies(talk: Talk, args: ChatArguments, approval: Approval | None = None):
    """A function from a line to nothing, which prints the reply and keeps the conversation; `None` begins a
    new one."""
    start = [{"role": "system", "content": args.system}] if args.system else []
    said = list(start)
    added = talk.tokenizer.added_tokens_decoder.values()
    marks = [str(token) for token in added if token.special or re.fullmatch(r"<[|｜].*[|｜]>", str(token))]

    def reply(line: str | None) -> None:
        if line is None:
            said[:] = start
            return
        asked = [*said, {"role": "user", "content": line}]
        screen = Screen(marks, approval)
        if approval:
            approval.begin()
        try:
            sampling: dict[str, Any] = {
                "max_new_tokens": args.max_new_tokens,
                "temperature": args.temperature,
                "seed": args.seed,
            }
            done, messages = talk.reply(line if args.complete else asked, screen, **sampling)
        except NoRoom as error:
            print(f"({error}; /reset begins a new one)")
            return
        except KeyboardInterrupt:
            return screen.end()
        except StopJob:
            decided = approval.told()
            return screen.end(f"stopped by a person; {decided}" if decided else "stopped by a person")
        decided = approval.told() if approval else ""
        screen.end("; ".join(filter(None, (cut(done, args.max_new_tokens), decided))))
        if not args.complete:
            said[:] = [*asked, *messages]

    return reply


def check(args: ChatArguments) -> None:
    """Raises `UserError` for keys of the page, and where no model is named."""
    defaults = ChatArguments()
    for name in ("models", "run", "votes", "host", "port"):
        if getattr(args, name) != getattr(defaults, name):
            raise UserError(f"--{name} goes with --web")
    if not args.model:
        raise UserError(
            "--model names the folder of a stage, or a Hub id; --web --run runs/tiny opens a page with all stages of"
            " a run"
        )


def check_tools(args: ChatArguments, tools: list) -> None:
    """Raises `UserError` where tools have no place, and where a person is to decide on calls that cannot be made."""
    if args.complete and (tools or args.system):
        raise UserError(
            f"{args.model} continues text here, and that has no place for --system and --tools: give a model with a"
            " chat template, without --complete"
        )
    if args.approve and not tools:
        raise UserError("--approve asks before tools are called, and there are none: name some with --tools")


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((ChatArguments,), argv)
    check_sampling(args.temperature, args.max_new_tokens)
    if args.web:
        from recipes.chat_ui.web import serve

        return serve(args)
    check(args)

    from eval.generation.models import load_tokenizer
    from eval.generation.tool_loop import load_tools

    tools = load_tools(args.tools)
    tokenizer = load_tokenizer(args.model)
    args.complete = args.complete or completes(args.model, tokenizer)
    check_tools(args, tools)
    names = [tool.__name__ for tool in tools]
    asks = fitting(starters(Path(args.model).parent), stage_of(args.model, args.complete), names)
    approval = Approval(ask_in_terminal) if args.approve else None
    called = [approval.guarded(tool) for tool in tools] if approval else tools
    reply = replies(Talk(load_model(args.model), tokenizer, called), args, approval)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that is not UTF-8 has no ⟶
    if sys.stdin.isatty():
        does = "continues your text" if args.complete else "answers"
        print(f"{args.model} {does}; /help says what to try, /quit ends")
    converse(reply, asks)


def converse(reply, asks: list[Starter]) -> None:
    """Answer what is typed, until the end; `reply` is what `replies` gave."""
    numbered = {f"/{number}": starter.text for number, starter in enumerate(asks, 1)}
    for line in lines():
        if line == "/help":
            print(help_text(asks))
            continue
        if line in numbered:
            line = numbered[line]
            print(f"> {line}")
        if line == "/reset":
            reply(None)
        elif line.startswith("/"):
            print(f"there is no command {line.split()[0]}; there are /help, /reset and /quit")
        else:
            reply(line)


def lines():
    """What is typed, line by line, until `/quit` or the end; what comes from a pipe is printed."""
    at_keyboard = sys.stdin.isatty()
    while True:
        try:
            line = input("> " if at_keyboard else "").strip()
        except (EOFError, KeyboardInterrupt):
            return
        except UnicodeDecodeError as error:
            raise UserError(f"the input is not UTF-8 ({error.reason} at byte {error.start}): give text") from None
        if line == "/quit":
            return
        if line and not at_keyboard:
            print(f"> {line}", flush=True)
        if line:
            yield line


def help_text(asks: list[Starter]) -> str:
    """The commands, and what to ask."""
    said = ["/reset begins a new conversation, /quit ends, Ctrl-C stops a reply."]
    said.append("A small model is best asked a few questions at most, then others in a new conversation.")
    said.append("Ask what you like, or by its number one of these, which show what it can:")
    for number, starter in enumerate(asks, 1):
        right = f" (right: {starter.right})" if starter.right else ""
        said.append(f"  /{number}  {starter.text.replace(chr(10), ' ⏎ ')}")
        said.append(" " * (5 + len(str(number))) + starter.shows + right)
    return "\n".join(said)


if __name__ == "__main__":
    main()
