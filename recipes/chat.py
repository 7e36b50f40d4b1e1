"""Talk to a model in the terminal, at any stage.

    python -m recipes.chat --model runs/tiny/sft
    python -m recipes.chat --model runs/tiny/sft --system "Be brief." --temperature 0 --tools python
    python -m recipes.chat --model runs/tiny/base

Each line is a message; the reply comes as it is written, with the model's thinking, its calls of tools and their results
indented. `/reset` begins a new conversation, Ctrl-C stops a reply, `/quit` or Ctrl-D ends. A base model, which has no chat
template, continues each line instead; so does any model with `--complete`. Lines can come from a pipe, too.
"""

import sys
import textwrap
from dataclasses import dataclass, field

from eval.cli import UserError, command, parse

INDENT = "  | "


@dataclass
class ChatArguments:
    model: str = field(metadata={"help": "folder of a stage, or a Hub id"})
    system: str | None = field(default=None, metadata={"help": "system message"})
    temperature: float = field(default=0.7, metadata={"help": "0 is greedy"})
    max_new_tokens: int = field(default=512, metadata={"help": "of one reply, its tools' results included"})
    tools: list[str] = field(default_factory=list, metadata={"help": "what the model may call: python, search=<index folder> or module:function"})
    complete: bool = field(default=False, metadata={"help": "continue each line as text instead of answering it"})
    seed: int | None = field(default=None, metadata={"help": "of sampling; unset: other replies each time"})


class Screen:
    """Prints a reply while it is written.

    Args:
        prefix: what was given to the model: its template may have begun the reply.
    """

    def __init__(self, tokenizer, prefix: str = ""):
        self.tokenizer, self.region = tokenizer, ""
        self._begin(prefix)

    def _begin(self, prefix: str) -> None:
        self.ids, self.shown = [], ""
        reads = bool(prefix) and getattr(self.tokenizer, "response_template", None) is not None
        self.parser = self.tokenizer.get_response_parser(prefix=prefix) if reads else None

    def token(self, token_id: int) -> None:
        self.ids.append(token_id)
        text = self.tokenizer.decode(self.ids, skip_special_tokens=self.parser is None)
        if not text.endswith("\ufffd"):  # else a character is half written
            new, self.shown = text[len(self.shown) :], text
            for event in self.parser.feed(new) if self.parser else [{"type": "region_chunk", "field": "content", "text": new}]:
                self._event(event)

    def message(self, message: dict, prefix: str) -> None:
        """A message is complete: its calls, or the result of one; `prefix` is what the next one continues."""
        self._rest()
        for call in message.get("tool_calls") or []:
            function = call.get("function", call)
            arguments = function["arguments"]
            values = list(arguments.values()) if isinstance(arguments, dict) else [arguments]
            text = values[0] if len(values) == 1 and isinstance(values[0], str) else ", ".join(f"{k}={v!r}" for k, v in arguments.items())
            self._block(f"{function['name']}: {text}")
        if message["role"] == "tool":
            self._block(f"= {message['content']}")
        self._begin(prefix)

    def end(self) -> None:
        self._rest()
        self._enter("")

    def _rest(self) -> None:
        """What the parser held back, as it could have been the beginning of a mark."""
        parser, self.parser = self.parser, None
        try:
            for event in parser.finalize()[1] if parser and self.ids else []:
                self._event(event)
        except ValueError:  # a call that cannot be read; the model is told
            pass

    def _event(self, event: dict) -> None:
        if event["type"] == "region_chunk" and event["field"] != "tool_calls":
            thinks = event["field"] != "content"
            self._enter(event["field"], f"{INDENT}thinking: " if thinks else "")
            print(event["text"].replace("\n", f"\n{INDENT}") if thinks else event["text"], end="", flush=True)

    def _enter(self, region: str, start: str = "") -> None:
        if region != self.region:
            print(("\n" if self.region else "") + start, end="", flush=True)
            self.region = region

    def _block(self, text: str) -> None:
        self._enter("")
        print(textwrap.indent(text, INDENT, lambda line: True), flush=True)


def replies(model, tokenizer, args: ChatArguments, tools: list):
    """A function from a line to nothing, which prints the reply and keeps the conversation; `None` begins a new one."""
    from eval.generate import encode, generate
    from eval.tool_loop import Toolbox

    rendering = {}
    if tools:
        toolbox = Toolbox(tokenizer, tools, 0, 0)
        tokenizer, rendering = toolbox.tokenizer, toolbox.rendering
    start = [{"role": "system", "content": args.system}] if args.system else []
    talk = list(start)
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)

    def render(messages: list[dict]) -> str:
        return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **rendering)

    def reply(line: str | None) -> None:
        if line is None:
            talk[:] = start
            return
        asked = [*talk, {"role": "user", "content": line}]
        prompt = line if args.complete else asked
        length = len(encode(tokenizer, [prompt], **rendering)[0])
        room = min(args.max_new_tokens, positions - length) if positions else args.max_new_tokens
        if room < 1:
            print(f"(no room: this conversation has {length} tokens, the model {positions} positions; /reset begins a new one)")
            return
        said: list[dict] = []
        screen = Screen(tokenizer, "" if args.complete else render(asked))

        def show(_, piece):
            if isinstance(piece, int):
                screen.token(piece)
            else:
                said.append(piece)
                calls = piece["role"] == "tool" or piece.get("tool_calls")
                screen.message(piece, render([*asked, *said]) if calls else "")

        settings = {"max_new_tokens": room, "temperature": args.temperature, "seed": args.seed, "stream": show}
        try:
            ((done,),) = generate(model, tokenizer, [prompt], tools=tools, **settings)
        except KeyboardInterrupt:
            return screen.end()
        screen.end()
        if not args.complete:
            talk[:] = [*asked, *(done.messages or [{"role": "assistant", "content": done.text}])]

    return reply


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((ChatArguments,), argv)
    if not args.temperature >= 0 or args.max_new_tokens < 1 or (args.seed or 0) < 0:
        raise UserError(f"temperature and seed must not be negative and max_new_tokens at least 1, but they are {args.temperature}, {args.seed} and {args.max_new_tokens}")

    import torch
    import transformers

    from eval.models import load_pretrained, load_tokenizer
    from eval.tool_loop import load_tools

    transformers.utils.logging.disable_progress_bar()
    tools = load_tools(args.tools)
    tokenizer = load_tokenizer(args.model)
    args.complete = args.complete or not tokenizer.chat_template
    if args.complete and (tools or args.system):
        raise UserError(f"{args.model} continues text here, and that has no place for --system and --tools: give a model with a chat template, without --complete")
    model = load_pretrained(transformers.AutoModelForCausalLM, args.model, "model", dtype="auto").to("cuda" if torch.cuda.is_available() else "cpu")
    reply = replies(model, tokenizer, args, tools)

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
