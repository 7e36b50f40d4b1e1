"""Questions out of documents: a writer makes a question and its answer of each, and the usable ones are kept."""

import collections
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from data_prep.probing.arguments import RefusalsArguments
from data_prep.probing.models import start_model
from data_prep.probing.settings import Settings
from data_prep.shared.chunks import dump, stream
from eval.cli import UserError, whole
from eval.verifiers import normal_words, reply

WRITE = """Passage:
{passage}

Write one question about a fact that stands in this passage, and its answer. The question names whom or what it is\
 about, so that
somebody who has not seen the passage understands it, and does not contain the answer. The answer is a few words of\
 the passage.
Write two lines:
Question: ...
Answer: ..."""
WRITTEN = re.compile(r"^\W*(question|answer)\W*?:[\s*]*(.*?)[\s*]*$", re.IGNORECASE | re.MULTILINE)
OF_PASSAGE = re.compile(r"\b(?:this|the|above) (?:passage|text|article|document|excerpt|author)\b", re.IGNORECASE)


def stands_in(words: str, text: str) -> bool:
    """Whether the words follow one another in the text; case, punctuation and articles aside."""
    return f" {' '.join(normal_words(words))} " in f" {' '.join(normal_words(text))} "


def written_row(passage: str, text: str, finished: bool) -> dict:
    """`question` and `answer` in a writer's reply, and why they are `dropped`, or null."""
    lines = [(kind.casefold(), value.strip("\"' ")) for kind, value in WRITTEN.findall(reply(text))]
    row = {"question": None, "answer": None, "dropped": None, "reply": text}
    if not finished:
        return row | {"dropped": "the reply was cut"}
    if [kind for kind, _ in lines] != ["question", "answer"] or not all(normal_words(value) for _, value in lines):
        return row | {"dropped": "no question and answer in the reply"}
    question, answer = lines[0][1], lines[1][1].rstrip(". ")
    row |= {"question": question, "answer": answer}
    if not stands_in(answer, passage):
        return row | {"dropped": "the answer does not stand in the passage"}
    if stands_in(answer, question):
        return row | {"dropped": "the question contains the answer"}
    if OF_PASSAGE.search(question):
        return row | {"dropped": "the question speaks of the passage"}
    return row


def start_writing(args: RefusalsArguments, settings: Settings) -> Callable[[list[dict], int], list[dict]]:
    """Load the writer; returns `work(rows, seed)`, which makes a row of `written.jsonl` of each document."""
    if args.writer:  # that the model is there is known before the work
        start_model(args, "model", weights=False)
    writer = start_model(args, "writer")
    settings.write(writer=writer.provenance)

    def work(rows: list[dict], seed: int) -> list[dict]:
        prompts = [WRITE.format(passage=row["text"]) for row in rows]
        replies = writer([[{"role": "user", "content": prompt}] for prompt in prompts], seed=seed)
        return [written_row(row["text"], r.text, r.finished) for row, (r,) in zip(rows, replies)]

    return work


def keep_questions(written: Path, questions: Path) -> collections.Counter:
    """Write the questions that are kept; the counts of what was dropped, by reason, and of what is `kept`.

    Raises:
        UserError: nothing is kept.
    """
    counts, keys = collections.Counter(), set()  # keys: of the questions that are kept
    with whole(questions) as file:
        for row in stream(written):
            key = hashlib.blake2b(" ".join(normal_words(row["question"] or "")).encode(), digest_size=8).digest()
            dropped = row["dropped"] or ("the same question stands before" if key in keys else None)
            counts[dropped or "kept"] += 1
            if not dropped:
                keys.add(key)
                file.write(dump({"question": row["question"], "answer": [row["answer"]]}))
        kept = f"{questions.name}: {counts['kept']:,} written about {counts.total():,} documents"
        print("; ".join([kept, *(f"{n:,} dropped: {why}" for why, n in counts.most_common() if why != "kept")]))
        if not counts["kept"]:
            raise UserError(f"no usable question was written ({written} says why): give another --writer")
    return counts
