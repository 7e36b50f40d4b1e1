"""Look at tokens: a page that shows any text or conversation as one or two tokenizers see it.

    python -m data_prep.tokenizer show --tokenizers runs/tiny/tokenizer --output_dir runs/tiny/tokenizer
    python -m data_prep.tokenizer show --tokenizers runs/tiny/tokenizer Qwen/Qwen3-0.6B --texts 'How many r in \
        strawberry?' --output_dir runs/look
    python -m data_prep.tokenizer show --tokenizers runs/tiny/sft --conversations \
        runs/tiny/world/conversations/train.jsonl --output_dir runs/look

Every token is coloured, with its id and its bytes; a token that is part of a character is shown as bytes. In a
conversation, rendered with the tokenizer's own chat template, the tokens that carry loss are underlined. Writes
`tokens.html`, one file that needs no network and no script.
"""

import re
from dataclasses import dataclass, field

from eval.cli import UserError, existing, output_folder, read_jsonl
from eval.token_text import token_bytes, visible

MOST_TOKENS = 2000  # of one text; more makes a page that no browser scrolls well
TEXTS = [
    "strawberry",
    "How many r are there in strawberry? Is Strawberry a strawberry?",
    "ubiquitous",
    "Which is bigger, 9.11 or 9.9? 3 + 4 = 7, 1234567 * 89 = ?",
    "🙂 👩‍🚀 🇫🇷 naïve, café, 水, नमस्ते, مرحبا",
    "def double(x):\n    return 2 * x  # twice\n",
]
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Look something up in the pages.",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "What to look for."}},
            "required": ["query"],
        },
    },
}
CONVERSATIONS = [
    {
        "messages": [
            {"role": "user", "content": "Who is Orson Kovats?"},
            {
                "role": "assistant",
                "content": "",
                "reasoning_content": "I do not remember this name. I can look it up.",
                "tool_calls": [
                    {"type": "function", "function": {"name": "search", "arguments": {"query": "Orson Kovats"}}}
                ],
            },
            {"role": "tool", "name": "search", "content": "No page names him."},
            {"role": "assistant", "content": "I do not know, and no page names him."},
        ],
        "tools": [SEARCH],
    },
]


@dataclass
class Arguments:
    tokenizers: list[str] = field(metadata={"help": "one tokenizer, or two to see side by side: folders or Hub ids"})
    output_dir: str = field(metadata={"help": "folder for tokens.html"})
    texts: list[str] = field(
        default_factory=list, metadata={"help": "texts to show; with no text, file or conversation: examples"}
    )
    files: list[str] = field(default_factory=list, metadata={"help": "plain text files to show"})
    conversations: str | None = field(
        default=None, metadata={"help": "JSON lines with `messages` (and `tools`) to show"}
    )
    limit: int = field(default=5, metadata={"help": "how many conversations to show"})


def page(template: str, **values) -> str:
    """A page of this folder with the report's style sheet."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loader = ChoiceLoader([PackageLoader("data_prep.tokenizer_pages", "."), PackageLoader("eval.report", ".")])
    return (
        Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        .get_template(template)
        .render(**values)
    )


def tokens_of(tokenizer, example: dict) -> dict:
    """An example in a tokenizer's eyes: `tokens` (id, bytes, text, loss, special), the number of all of them, and a
    `note`."""
    note, mask = "", None
    if "text" in example:
        ids = tokenizer.encode(example["text"], add_special_tokens=False, verbose=False)
    elif not tokenizer.chat_template:
        ids, note = [], "This tokenizer has no chat template."
    else:
        marked = bool(re.search(r"\{%-?\s*generation\b", tokenizer.get_chat_template()))
        try:
            options = {
                "return_dict": True,
                "return_assistant_tokens_mask": marked,
                "tokenizer_kwargs": {"verbose": False},
            }
            out = tokenizer.apply_chat_template(example["messages"], tools=example.get("tools"), **options)
        except Exception as error:  # whatever a template raises
            raise UserError(
                f"the chat template of {tokenizer.name_or_path} cannot render a conversation: {error}"
            ) from None
        ids, mask = out["input_ids"], out.get("assistant_masks")
        note = (
            "" if marked else "Its chat template has no {% generation %} markers, so what carries loss is not known."
        )
    raw = token_bytes(tokenizer, ids[:MOST_TOKENS])
    loss = mask or [None] * len(ids)
    special = tokenizer.added_tokens_decoder
    tokens = [
        {
            "id": i,
            "bytes": b.hex(" "),
            "text": visible(b),
            "breaks": b.endswith(b"\n"),
            "loss": bool(m),
            "special": i in special,
        }
        for i, b, m in zip(ids, raw, loss)
    ]
    return {
        "tokens": tokens,
        "count": len(ids),
        "size": sum(map(len, raw)),
        "loss": None if mask is None else sum(mask),
        "note": note,
    }


def read_examples(args: Arguments) -> list[dict]:
    """What to show: rows with `title` and either `text` or `messages`.

    Raises:
        UserError: a file that is missing or holds something else.
    """
    examples = [{"title": "text", "text": text} for text in args.texts]
    if any("\ud800" <= char <= "\udfff" for text in args.texts for char in text):
        raise UserError("--texts takes text in UTF-8")
    for path in args.files:
        try:
            examples.append({"title": path, "text": existing(path, "file", "give a text file").read_bytes().decode()})
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read as text in UTF-8: {error}") from None
    if args.conversations:
        rows = read_jsonl(args.conversations, ("messages",), "give JSON lines with `messages`")
        examples += [
            {"title": f"{args.conversations}, line {n}", **row} for n, row in enumerate(rows[: args.limit], 1)
        ]
    return examples or [
        *({"title": "text", "text": text} for text in TEXTS),
        *({"title": "conversation", **row} for row in CONVERSATIONS),
    ]


def run(args: Arguments) -> None:
    from eval.generation.models import load_tokenizer

    if len(args.tokenizers) > 2:
        raise UserError(f"--tokenizers takes one or two, but there are {len(args.tokenizers)}")
    if args.limit < 1:
        raise UserError(f"limit must be at least 1, but is {args.limit}")
    tokenizers = {name: load_tokenizer(name) for name in args.tokenizers}
    examples = read_examples(args)
    rows = []
    for example in examples:
        rows.append({**example, "seen": {name: tokens_of(t, example) for name, t in tokenizers.items()}})
    out = output_folder(args.output_dir)
    html = page("tokenizer_show.html", rows=rows, vocabulary={name: len(t) for name, t in tokenizers.items()})
    (out / "tokens.html").write_text(html, encoding="utf-8", errors="replace")
    print(f"{out / 'tokens.html'}")
