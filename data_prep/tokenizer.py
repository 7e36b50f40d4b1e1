"""Train the tokenizer: byte-level BPE, digits one by one, with a chat template.

    python -m data_prep.tokenizer --sources 'runs/tiny/web/documents/*.jsonl.gz' --output_dir runs/tiny/tokenizer --vocab_size 1024

Saved as a stock `PreTrainedTokenizerFast`. Documents end with <|endoftext|>, turns with <|im_end|>, which is the end
token; <|pad|> is neither (PPO masks out every end token where pad = end). In the chat template the end token stands
inside the generation markers, so it carries loss, and nothing follows the last turn, so the reward model is trained to
read at the token where PPO reads (a newline there cost 88 % of the reward margin).
"""

import glob
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, output_folder, parse

END_OF_TEXT, IM_START, IM_END, PAD = SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
ROLES = ("system", "user", "assistant", "tool")
CHAT_TEMPLATE = """\
{%- for m in messages -%}
{%- if not loop.first -%}{{- '\\n' -}}{%- endif -%}
{{- '<|im_start|>' + m['role'] + '\\n' -}}
{%- if m['role'] == 'assistant' -%}{%- generation -%}{{- m['content'] + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}{{- m['content'] + '<|im_end|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '\\n<|im_start|>assistant\\n' -}}{%- endif -%}"""


@dataclass
class TokenizerArguments:
    sources: list[str] = field(metadata={"help": "JSON-lines files (globs) with `text` or `messages`"})
    output_dir: str = field(metadata={"help": "folder for the tokenizer"})
    vocab_size: int = field(default=1024, metadata={"help": "tokens, the special ones included; at least 256 bytes + special tokens"})
    model_max_length: int = field(default=1024, metadata={"help": "context length that the tokenizer reports"})


def texts(patterns: list[str]) -> Iterator[str]:
    """The `text` of documents and the turns of conversations.

    Raises:
        UserError: a pattern without files, a file that cannot be read, a line that is not JSON, or a row with neither column.
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
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{place} is not JSON: {error}") from None
    try:
        found = [m["content"] for m in row["messages"]] if "messages" in row else [row["text"]]
    except (KeyError, TypeError):
        found = [None]
    if not all(isinstance(text, str) for text in found):
        raise UserError(f"{place}: expected a column text (a string) or messages (role, content), found {', '.join(row) if isinstance(row, dict) else row}")
    return found


def train(corpus: Iterator[str], vocab_size: int, model_max_length: int = 1024):
    """A `PreTrainedTokenizerFast` of at most `vocab_size` tokens with the chat template.

    Raises:
        UserError: `vocab_size` has no room for the 256 bytes and the special tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if vocab_size < (least := 256 + len(SPECIAL_TOKENS)):
        raise UserError(f"vocab_size must be at least {least} (256 bytes + {len(SPECIAL_TOKENS)} special tokens), but is {vocab_size}")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()

    def with_headers():
        for text in corpus:
            yield text
            yield "\n".join(ROLES)  # so that a turn's header costs two tokens and not seven

    bpe.train_from_iterator(
        with_headers(),
        trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=list(SPECIAL_TOKENS), show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=IM_END, pad_token=PAD, model_max_length=model_max_length, clean_up_tokenization_spaces=False)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((TokenizerArguments,), argv)
    if not any(texts(args.sources)):
        raise UserError(f"{' '.join(args.sources)}: there is no text in these files; give JSON lines with `text` or `messages`")
    out = output_folder(args.output_dir)
    tokenizer = train(texts(args.sources), args.vocab_size, args.model_max_length)
    tokenizer.save_pretrained(out)
    sample = [text for _, text in zip(range(500), texts(args.sources))]
    count = sum(len(ids) for ids in tokenizer(sample)["input_ids"])
    print(f"{Path(out)}: {len(tokenizer)} tokens, {sum(len(t.encode()) for t in sample) / max(1, count):.2f} bytes per token on the first 500 texts")


if __name__ == "__main__":
    main()
