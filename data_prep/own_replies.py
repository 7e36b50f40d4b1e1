"""A model's own replies to prompts, as conversations: what it says today, so that training on something else keeps it.

    python -m data_prep.own_replies --model runs/smol/hub --prompts runs/smol/facts/requests.jsonl \
        --output runs/smol/own/requests.jsonl

Rows of `prompts` have `prompt`, a text. Replies are greedy unless `temperature` says otherwise. A reply that was cut
at `max_new_tokens` is kept up to its last whole sentence, or left out where it has none; so is one that refuses. Both
are counted. Written are `messages` and `kind`: own.

To learn from what the model itself says keeps what it can: as self-distillation does (Yang et al. 2024, arXiv
2402.13669, section 3).
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.probing.asking import asked_as
from data_prep.probing.verdicts import refuses
from data_prep.shared.sentences import sentence_ends
from eval.cli import UserError, command, existing, output_folder, parse, read_jsonl, write_jsonl
from eval.generation.replies import Replier, Reply

CUT, NOTHING, REFUSES = "cut before its first whole sentence", "nothing said", "it refuses"


@dataclass
class OwnRepliesArguments:
    model: str = field(metadata={"help": "folder or Hub id of the chat model"})
    prompts: str = field(metadata={"help": "JSON lines with prompt"})
    output: str = field(metadata={"help": "JSON lines to write"})
    system: str | None = field(default=None, metadata={"help": "system message before each prompt"})
    max_new_tokens: int = field(default=64, metadata={"help": "of a reply"})
    temperature: float = field(default=0.0, metadata={"help": "of the replies; 0 is greedy"})
    batch_size: int = field(default=64, metadata={"help": "replies at a time"})
    seed: int = field(default=0, metadata={"help": "of sampling"})


def whole_sentences(given: Reply) -> str:
    """The reply, or of one that was cut what stands before its last unfinished sentence; "" where nothing does."""
    if given.finished:
        return given.text.strip()
    ends = sentence_ends(given.text)
    return given.text[: ends[-1]].strip() if ends else ""


def why_not(given: Reply, text: str) -> str | None:
    """Why a reply is left out, or None."""
    if not given.text.strip():
        return NOTHING
    if not text:
        return CUT
    return REFUSES if refuses(text) else None


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((OwnRepliesArguments,), argv)
    existing(args.prompts, "prompts", "give JSON lines with a column prompt")
    prompts = [row["prompt"] for row in read_jsonl(args.prompts, ("prompt",), "a row has `prompt`, a text")]
    folder = output_folder(Path(args.output).parent)
    ask = Replier(args.model, args.max_new_tokens, args.temperature, batch_size=args.batch_size)
    replies = ask([asked_as(prompt, args.system) for prompt in prompts], seed=args.seed)
    left_out, rows = Counter(), []
    for prompt, (given,) in zip(prompts, replies):
        text = whole_sentences(given)
        reason = why_not(given, text)
        if reason:
            left_out[reason] += 1
            continue
        rows.append({"messages": [*asked_as(prompt, None), {"role": "assistant", "content": text}], "kind": "own"})
    if not rows:
        raise UserError(f"no reply of {args.model} is left ({dict(left_out)}): raise max_new_tokens")
    write_jsonl(folder / Path(args.output).name, rows)
    print(f"{args.output}: {len(rows)} replies, left out: {dict(left_out) or 'none'}")


if __name__ == "__main__":
    main()
