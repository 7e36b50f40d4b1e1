"""Talk to a model, at any stage: in the terminal, or on a web page.

    python -m recipes.chat --model runs/tiny/sft
    python -m recipes.chat --model runs/tiny/sft --system "Be brief." --temperature 0 --tools python
    python -m recipes.chat --model runs/tiny/base
    python -m recipes.chat --web --run runs/tiny

Each line is a message; the reply comes as it is written, with the model's thinking, its calls of tools and their results
indented. `/reset` begins a new conversation, Ctrl-C stops a reply, `/quit` or Ctrl-D ends. A base model (without chat
template, or pretrained here) continues each line instead; so does any model with `--complete`. Lines can come from a pipe, too.
The page has all that and more: `recipes.chat_web`.
"""

import sys
import textwrap
from dataclasses import dataclass, field

from eval.cli import UserError, command, parse
from recipes.talk import Listener, NoRoom, Talk, completes, load_model

INDENT = "  | "


@dataclass
class ChatArguments:
    model: str | None = field(default=None, metadata={"help": "folder of a stage, or a Hub id"})
    system: str | None = field(default=None, metadata={"help": "system message"})
    temperature: float = field(default=0.7, metadata={"help": "0 is greedy"})
    max_new_tokens: int = field(default=512, metadata={"help": "of one reply, its tools' results included"})
    tools: list[str] = field(default_factory=list, metadata={"help": "what the model may call: python, search=<index folder> or module:function"})
    complete: bool = field(default=False, metadata={"help": "continue each line as text instead of answering it"})
    seed: int | None = field(default=None, metadata={"help": "of sampling; unset: other replies each time"})
    web: bool = field(default=False, metadata={"help": "a web page instead of the terminal"})
    models: list[str] = field(default_factory=list, metadata={"help": "with web: name=folder (or Hub id) of each model to choose from"})
    run: str | None = field(default=None, metadata={"help": "with web: folder of a run: all its language models, its tools, and its file of votes"})
    votes: str | None = field(default=None, metadata={"help": "with web: .jsonl file that blind votes are added to"})
    host: str = field(default="127.0.0.1", metadata={"help": "with web: address to listen at; 0.0.0.0 is all"})
    port: int = field(default=7860, metadata={"help": "with web: port to listen at"})


class Screen(Listener):
    """Prints a reply while it is written."""

    def __init__(self):
        self.region = ""

    def text(self, field: str, text: str) -> None:
        if field != "tool_calls":  # comes as a message when it is whole
            thinks = field != "content"
            self._enter(field, f"{INDENT}thinking: " if thinks else "")
            print(text.replace("\n", f"\n{INDENT}") if thinks else text, end="", flush=True)

    def message(self, message: dict) -> None:
        for call in message.get("tool_calls") or []:
            function = call.get("function", call)
            arguments = function["arguments"]
            values = list(arguments.values()) if isinstance(arguments, dict) else [arguments]
            text = values[0] if len(values) == 1 and isinstance(values[0], str) else ", ".join(f"{k}={v!r}" for k, v in arguments.items())
            self._block(f"{function['name']}: {text}")
        if message["role"] == "tool":
            self._block(f"= {message['content']}")

    def end(self) -> None:
        self._enter("")

    def _enter(self, region: str, start: str = "") -> None:
        if region != self.region:
            print(("\n" if self.region else "") + start, end="", flush=True)
            self.region = region

    def _block(self, text: str) -> None:
        self._enter("")
        print(textwrap.indent(text, INDENT, lambda line: True), flush=True)


def replies(talk: Talk, args: ChatArguments):
    """A function from a line to nothing, which prints the reply and keeps the conversation; `None` begins a new one."""
    start = [{"role": "system", "content": args.system}] if args.system else []
    said = list(start)

    def reply(line: str | None) -> None:
        if line is None:
            said[:] = start
            return
        asked = [*said, {"role": "user", "content": line}]
        screen = Screen()
        try:
            _, messages = talk.reply(line if args.complete else asked, screen, max_new_tokens=args.max_new_tokens, temperature=args.temperature, seed=args.seed)
        except NoRoom as error:
            print(f"({error}; /reset begins a new one)")
            return
        except KeyboardInterrupt:
            return screen.end()
        screen.end()
        if not args.complete:
            said[:] = [*asked, *messages]

    return reply


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((ChatArguments,), argv)
    if not args.temperature >= 0 or args.max_new_tokens < 1:
        raise UserError(f"temperature must not be negative and max_new_tokens at least 1, but they are {args.temperature} and {args.max_new_tokens}")

    if args.web:
        from recipes.chat_web import serve

        return serve(args)
    if stray := [name for name in ("models", "run", "votes", "host", "port") if getattr(args, name) != getattr(ChatArguments(), name)]:
        raise UserError(f"--{stray[0]} goes with --web")
    if not args.model:
        raise UserError("--model names the folder of a stage, or a Hub id; --web --run runs/tiny opens a page with all stages of a run")

    from eval.models import load_tokenizer
    from eval.tool_loop import load_tools

    tools = load_tools(args.tools)
    tokenizer = load_tokenizer(args.model)
    args.complete = args.complete or completes(args.model, tokenizer)
    if args.complete and (tools or args.system):
        raise UserError(f"{args.model} continues text here, and that has no place for --system and --tools: give a model with a chat template, without --complete")
    reply = replies(Talk(load_model(args.model), tokenizer, tools), args)

    at_keyboard = sys.stdin.isatty()
    if at_keyboard:
        print(f"{args.model} {'continues your text' if args.complete else 'answers'}; /reset, /quit")
    while True:
        try:
            line = input("> " if at_keyboard else "").strip()
        except (EOFError, KeyboardInterrupt):
            break
        except UnicodeDecodeError as error:
            raise UserError(f"the input is not UTF-8 ({error.reason} at byte {error.start}): give text") from None
        if line == "/quit":
            break
        if line.startswith("/") and line != "/reset":
            print(f"there is no command {line.split()[0]}; there are /reset and /quit")
        elif line:
            reply(None if line == "/reset" else line)


if __name__ == "__main__":
    main()
