"""Questions for a pretrained model: real facts, invented things, everyday requests; split by subject and wording.

    python -m data_prep.facts.questions --facts_dir recipes/smollm2-135m/facts --output_dir runs/smol/facts

Reads `facts.jsonl` (relation, subject, answer), `famous.yaml`, `wordings.yaml` and `everyday.yaml`; writes, as JSON
lines:

    train, test       question, answer, relation: what is to be probed. A subject is on one side with all its facts,
                      and each side has wordings of its own. `--train_wordings` asks each fact of `train` in so
                      many of them.
    invented          messages: questions about invented things, each with a refusal
    honesty           prompt, answer (a list; empty for an invented thing): the questions of `train` and `invented`,
                      for practice that pays a right answer, a refusal less, and a wrong answer nothing
    requests          prompt: everyday requests
    prompts/train, prompts/validation, prompts/test   the same as messages, for `data_prep.preferences` and RLOO: one
                      of `VALIDATION` that are for training is for validation, those of the exam are the test
    exam/invented, exam/everyday      question, verifier: what is only examined, with kinds that `invented` lacks

What the model knows is not in here: `data_prep.refusals` finds it out, `data_prep.facts.exam` takes it in.
"""

import itertools
import random
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from data_prep.facts.invented import names
from data_prep.probing.asking import asked_as
from data_prep.probing.phrasings import PHRASINGS
from eval.cli import UserError, command, existing, output_folder, parse, read_jsonl, write_jsonl

SIDES = ("train", "test")
VALIDATION = 6
WORDS = {"am", "as", "at", "be", "he", "i", "in", "no"}  # symbols that a sentence holds for other reasons


@dataclass
class QuestionsArguments:
    facts_dir: str = field(metadata={"help": "folder of facts.jsonl, famous.yaml, wordings.yaml, everyday.yaml"})
    output_dir: str = field(metadata={"help": "folder to write"})
    per_relation: int = field(default=120, metadata={"help": "facts of each relation, drawn by seed"})
    test_per_relation: int | None = field(
        default=None, metadata={"help": "of those, at most so many of each relation for the exam (default: all)"}
    )
    train_wordings: int = field(default=1, metadata={"help": "each fact for training is asked in so many wordings"})
    invented: int = field(default=150, metadata={"help": "questions about invented things for training"})
    invented_test: int = field(default=300, metadata={"help": "the same for the exam"})
    requests: int = field(default=100, metadata={"help": "everyday requests for training"})
    requests_test: int = field(default=100, metadata={"help": "the same for the exam"})
    systems: list[str] = field(
        default_factory=lambda: [""], metadata={"help": "of `honesty`: a system message of these; empty: none"}
    )
    seed: int = field(default=0, metadata={"help": "of drawing and of the split"})


def read_yaml(folder: str, name: str) -> dict:
    """The mapping in a YAML file of the folder.

    Raises:
        UserError: no such file, or not a mapping.
    """
    path = existing(Path(folder) / name, name, "recipes/smollm2-135m/facts is a pattern")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a mapping, but holds {type(content).__name__}")
    return content


def read_facts(folder: str) -> list[dict]:
    """All facts, those of famous things with a relation of their kind."""
    facts = read_jsonl(Path(folder) / "facts.jsonl", ("relation", "subject", "answer"), "data_prep.facts.collect")
    facts = [row for row in facts if row["relation"] != "symbol" or row["answer"][0].lower() not in WORDS]
    for relation, answers in read_yaml(folder, "famous.yaml").items():
        for subject, answer in answers.items():
            facts.append({"relation": relation, "subject": str(subject), "answer": [str(a) for a in answer]})
    return facts


def side_of(subject: str, seed: int) -> str:
    """train or test, as likely as not; the same for every fact about a subject."""
    return random.Random(f"side-{subject}-{seed}").choice(SIDES)


def fact_questions(
    facts: list[dict],
    wordings: dict,
    per_relation: int,
    seed: int,
    most: dict[str, int | None] | None = None,
    train_wordings: int = 1,
) -> dict[str, list[dict]]:
    """The questions of each side: up to `per_relation` facts of each relation, in wordings of their side.

    Args:
        most: of each side, how many questions of a relation it has at most; None: all.
        train_wordings: of a fact for training, in how many wordings it is asked, where its relation has so many.
    """
    out = {side: [] for side in SIDES}
    for relation, forms in wordings.items():
        rows = [row for row in facts if row["relation"] == relation]
        rng = random.Random(f"facts-{relation}-{seed}")
        questions = {side: [] for side in SIDES}
        for row in rng.sample(rows, min(per_relation, len(rows))):
            side = side_of(row["subject"], seed)
            count = train_wordings if side == "train" else 1
            for form in rng.sample(forms[side], min(count, len(forms[side]))):
                question = form.format(x=row["subject"])
                question = question[0].upper() + question[1:]
                questions[side].append({"question": question, "answer": row["answer"], "relation": relation})
        for side in SIDES:
            out[side] += questions[side][: (most or {}).get(side)]
    return out


def invented_questions(wordings: dict, side: str, count: int, seed: int) -> list[dict]:
    """`count` questions about invented things, of every kind that has wordings on this side, in turn."""
    kinds = [kind for kind, forms in wordings.items() if forms[side]]
    rng, each = random.Random(f"invented-{side}-{seed}"), -(-count // len(kinds))
    rounds = zip(*(names(kind, side, each, seed) for kind in kinds))  # each: a name of every kind
    turns = ((kind, name) for named in rounds for kind, name in zip(kinds, named))
    return [
        {"question": rng.choice(wordings[kind][side]).format(x=name), "kind": kind}
        for kind, name in itertools.islice(turns, count)
    ]


def requests(spec: list[dict], count: int, seed: int) -> list[str]:
    """Up to `count` everyday requests, drawn by seed."""
    asks = [ask.format(x=topic) for group in spec for ask in group["asks"] for topic in group["topics"]]
    return random.Random(f"requests-{seed}").sample(asks, min(count, len(asks)))


def prompts(train: list[str], test: list[str]) -> dict[str, list[dict]]:
    """The requests of each split as messages."""
    parts = {
        "train": [text for number, text in enumerate(train) if number % VALIDATION],
        "validation": train[::VALIDATION],
        "test": test,
    }
    return {
        split: [{"prompt": [{"role": "user", "content": text}]} for text in texts] for split, texts in parts.items()
    }


def refusal_row(question: str, rng: random.Random) -> dict:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": rng.choice(PHRASINGS)}]
    return {"messages": turns, "kind": "invented"}


def honesty_rows(asked: list[dict], invented: list[dict], systems: list[str], seed: int) -> list[dict]:
    """Both kinds of questions in one order, each behind one of the system messages."""
    rng = random.Random(f"honesty-{seed}")
    rows = []
    for row in [*asked, *invented]:
        prompt = asked_as(row["question"], rng.choice(systems))
        rows.append({"prompt": prompt, "answer": row.get("answer", [])})
    rng.shuffle(rows)
    return rows


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((QuestionsArguments,), argv)
    for key in ("train_wordings", "per_relation", "invented", "invented_test", "requests", "requests_test"):
        if getattr(args, key) < 1:
            raise UserError(f"{key} must be at least 1, but is {getattr(args, key)}")
    if args.test_per_relation is not None and args.test_per_relation < 1:
        raise UserError(f"test_per_relation must be at least 1, but is {args.test_per_relation}: leave it out for all")
    if not args.systems:
        raise UserError('systems is empty: give at least one system message, "" for none')
    wordings, everyday = read_yaml(args.facts_dir, "wordings.yaml"), read_yaml(args.facts_dir, "everyday.yaml")
    facts = read_facts(args.facts_dir)
    out = output_folder(args.output_dir)
    exam = output_folder(out / "exam")
    try:
        asked = fact_questions(
            facts,
            wordings["relations"],
            args.per_relation,
            args.seed,
            {"test": args.test_per_relation},
            args.train_wordings,
        )
        invented = {
            side: invented_questions(wordings["invented"], side, count, args.seed)
            for side, count in (("train", args.invented), ("test", args.invented_test))
        }
        wanted = {
            side: requests(everyday[side], count, args.seed)
            for side, count in (("train", args.requests), ("test", args.requests_test))
        }
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise UserError(
            f"wordings.yaml or everyday.yaml in {args.facts_dir} lacks a part, or has one of another form"
            f" ({type(error).__name__}: {error}):"
            " recipes/smollm2-135m/facts is a pattern"
        ) from None
    rng = random.Random(f"phrasings-{args.seed}")
    for side in SIDES:
        write_jsonl(out / f"{side}.jsonl", asked[side])
    write_jsonl(out / "invented.jsonl", [refusal_row(row["question"], rng) for row in invented["train"]])
    write_jsonl(out / "honesty.jsonl", honesty_rows(asked["train"], invented["train"], args.systems, args.seed))
    write_jsonl(out / "requests.jsonl", [{"prompt": text} for text in wanted["train"]])
    folder = output_folder(out / "prompts")
    for split, rows in prompts(wanted["train"], wanted["test"]).items():
        write_jsonl(folder / f"{split}.jsonl", rows)
    write_jsonl(exam / "invented.jsonl", invented["test"])
    write_jsonl(exam / "everyday.jsonl", [{"question": text} for text in wanted["test"]])
    sizes = {side: len(rows) for side, rows in asked.items()}
    print(f"{out}: {sizes} questions, {len(invented['test'])} about invented things, {len(wanted['test'])} requests")


if __name__ == "__main__":
    main()
