"""Train the tokenizer: byte-level BPE, digits one by one, with marks for chat, tools and thinking and a chat template.

    python -m data_prep.tokenizer --sources 'runs/tiny/web/documents/*.jsonl.gz' --output_dir runs/tiny/tokenizer \
        --vocab_size 1024
    python -m data_prep.tokenizer compare --sources 'runs/tiny/web/documents/*.jsonl.gz' --output_dir \
        runs/tiny/tokenizers
    python -m data_prep.tokenizer show --tokenizers runs/tiny/tokenizer --output_dir runs/tiny/tokenizer

Saved as a stock `PreTrainedTokenizerFast`. Documents end with <|endoftext|>, turns with <|im_end|>, which is the end
token; <|pad|> is neither (PPO masks out every end token where pad = end). These four are special: decoding with
`skip_special_tokens=True` leaves them out. The marks of tools and thinking are ordinary added tokens, as in Qwen3, so
that they stay in what rewards and parsers read. A text that spells one of the twelve is encoded as that token by the
tokenizer itself, and as plain text by all that encodes here what users, tools, pages and data sets say
(`eval.generation.encoding`).

`chat_template.jinja` says how conversations look. The end token stands inside the generation markers, so it carries
loss, and nothing follows the last turn, so the reward model is trained to read at the token where PPO reads (a newline
there cost 88 % of the reward margin). `RESPONSE_TEMPLATE` reads a reply back: transformers' `parse_response`, and so
TRL, finds the thinking, the calls and the rest in it.
"""

import glob
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from pathlib import Path

from eval.cli import UserError, command, output_folder, parse

END_OF_TEXT, IM_START, IM_END, PAD = SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
TOOL_TOKENS = tuple(f"<|{tool}_{end}|>" for tool in ("search", "python", "output") for end in ("start", "end"))
THINK_TOKENS = ("<think>", "</think>")
HEADERS = ("system", "user", "assistant", "tool", "Tools:", "search", "python")  # what the chat template itself writes
CHAT_TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text()
BATCH = 1000  # texts that go to the trainer at once

_AS_IT_STANDS = {"content_args": {"strip": False}, "repeats": True}
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        # Thinking that is not ended is thinking to the end of the turn.
        "reasoning_content": {
            "open": "<think>",
            "close_pattern": r"</think>|(?=<\|im_end\|>)",
            "join": "",
            **_AS_IT_STANDS,
        },
        # A call is one from its mark to the same tool's end mark with no other mark between; anything else is content.
        # The
        # argument's name cannot hang on the tool (a response template has one shape for all calls), so it is `query`
        # for both.
        "tool_calls": {
            "open_pattern": r"<\|(?P<name>search|python)_start\|>(?=(?:(?!<\|\w+\|>).)*<\|(?P=name)_end\|>)",
            "close_pattern": r"<\|\w+_end\|>",
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": {"query": "{content}"}}},
            **_AS_IT_STANDS,
        },
        # What is left, without special tokens; the turn is over at its end token, whatever follows.
        "content": {"close_pattern": r"<\|im_end\|>.*|<\|(?:endoftext|im_start|pad)\|>", "join": "", **_AS_IT_STANDS},
    },
}


@dataclass
class TokenizerArguments:
    sources: list[str] = field(metadata={"help": "JSON-lines files (globs) with `text` or `messages`"})
    output_dir: str = field(metadata={"help": "folder for the tokenizer"})
    vocab_size: int = field(
        default=1024, metadata={"help": "tokens, the special ones included; at least 256 bytes + 12 special tokens"}
    )
    model_max_length: int = field(default=1024, metadata={"help": "context length that the tokenizer reports"})


def texts(patterns: list[str]) -> Iterator[str]:
    """The `text` of documents and the turns of conversations: their content, thinking and calls.

    Raises:
        UserError: a pattern without files, a file that cannot be read, a line that is not JSON, or a row with neither
            column.
    """
    from datatrove.io import open_file

    for pattern in patterns:
        files = sorted(glob.glob(pattern))
        if not files:
            raise UserError(f"no file matches {pattern}: give JSON-lines files with `text` or `messages`")
        for path in files:
            try:
                with open_file(path, "rt", compression="infer") as f:
                    for number, line in enumerate(f, 1):
                        yield from _texts_of(line, f"{path}, line {number}")
            except (OSError, EOFError, UnicodeError, zlib.error) as error:
                raise UserError(f"{path} cannot be read as JSON lines in UTF-8: {error}") from None


def _texts_of(line: str, place: str) -> list[str]:
    import orjson  # refuses lone surrogates, which are no Unicode text

    try:
        row = orjson.loads(line)
    except ValueError as error:
        raise UserError(f"{place} is not JSON: {error}") from None
    try:
        texts = [text for m in row["messages"] for text in _texts_in(m)] if "messages" in row else [row["text"]]
    except (AttributeError, KeyError, TypeError):
        texts = [None]
    if not all(isinstance(text, str) for text in texts):
        raise UserError(
            f"{place}: expected a column text (a string) or messages (role, content), found"
            f" {', '.join(row) if isinstance(row, dict) else row}"
        )
    return texts


def _texts_in(message: dict) -> Iterator[str | None]:
    calls = message.get("tool_calls") or []
    if not calls or message.get("content") is not None:  # a call needs no words
        yield message["content"]
    if message.get("reasoning_content"):
        yield message["reasoning_content"]
    for call in calls:
        yield from (value for value in call.get("function", call)["arguments"].values() if isinstance(value, str))


def batches(corpus: Iterable[str]) -> Iterator[list[str]]:
    """Lists of `BATCH` texts with the headers of turns and tools among them, so that a turn's header costs two tokens
    and not seven.

    They come once for 500 letters: once for each text, they took a quarter of the time where texts are short.
    """
    corpus = iter(corpus)
    while True:
        batch = list(islice(corpus, BATCH))
        if not batch:
            return
        yield [*batch, "\n".join(HEADERS * (1 + sum(map(len, batch)) // 500))]


def train(corpus: Iterable[str], vocab_size: int, model_max_length: int = 1024):
    """A `PreTrainedTokenizerFast` of at most `vocab_size` tokens with the chat template.

    Raises:
        UserError: `vocab_size` has no room for the 256 bytes and the special tokens.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    marks = TOOL_TOKENS + THINK_TOKENS
    special = len(SPECIAL_TOKENS + marks)
    if vocab_size < 256 + special:
        raise UserError(
            f"vocab_size must be at least {256 + special} (256 bytes + {special} special tokens), but is {vocab_size}"
        )
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(marks),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )
    bpe.train_from_iterator(batches(corpus), trainer)
    bpe.add_tokens([AddedToken(mark, normalized=False, special=False) for mark in marks])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=IM_END,
        pad_token=PAD,
        model_max_length=model_max_length,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.response_template = RESPONSE_TEMPLATE
    return tokenizer


@command
def main(argv: list[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] in (["compare"], ["show"]):
        other = import_module(f"data_prep.tokenizer_pages.{argv[0]}")
        (args,) = parse((other.Arguments,), argv[1:])
        return other.run(args)
    if argv and not argv[0].startswith("-"):
        raise UserError(
            f"there is no command {argv[0]}: write `compare` or `show`, or --sources and --output_dir to train"
        )
    (args,) = parse((TokenizerArguments,), argv)
    if not any(texts(args.sources)):
        raise UserError(
            f"{' '.join(args.sources)}: there is no text in these files; give JSON lines with `text` or `messages`"
        )
    out = output_folder(args.output_dir)
    tokenizer = train(texts(args.sources), args.vocab_size, args.model_max_length)
    tokenizer.save_pretrained(out)
    sample = [text for _, text in zip(range(500), texts(args.sources))]
    count = sum(len(ids) for ids in tokenizer(sample, verbose=False)["input_ids"])
    print(
        f"{Path(out)}: {len(tokenizer)} tokens, {sum(len(t.encode()) for t in sample) / max(1, count):.2f} bytes per"
        " token on the first 500 texts"
    )


if __name__ == "__main__":
    main()
