r"""What a pretrained model practises search and Python on, and what it is examined in.

    python -m data_prep.facts.practice --facts_dir recipes/smollm2-135m/facts --output_dir runs/smol/practice
    python -m data_prep.facts.practice --facts_dir recipes/smollm2-135m/facts --output_dir runs/smol/practice \
        --squad rajpurkar/squad --squad_split validation

Writes, as JSON lines:

    library/documents   what search finds: a paragraph on each subject of `facts.jsonl` and `famous.yaml`, and those of
                        SQuAD where it is given (a Hub id, or a file in its own form such as XQuAD's); a sentence a
                        line, so that passages of an index end where sentences do
    tool_use            question, tool, query, reply and what must hold (`data_prep.conversations` runs the calls)
    identity            messages: who it is
    exam/               search, search_pasted (the paragraph stands in the question), letters, every_third, compare,
                        arithmetic, sums, identity, override: question, answer; plain_text: text

Nothing examined is practised: subjects and wordings are split as in `data_prep.facts.questions`, SQuAD by article,
words and numbers by `data_prep.problems`.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

from data_prep import problems
from data_prep.facts.invented import names
from data_prep.facts.questions import SIDES, read_facts, read_yaml, side_of
from data_prep.shared.sentences import sentence_around, sentences
from data_prep.world import textbooks, wordings
from data_prep.world.conversations import chat, identity
from eval.cli import UserError, command, output_folder, parse, write_jsonl

PYTHON = ("letters", "every_third", "compare", "arithmetic")
NOT_FOUND = (
    "I don't know. The search found nothing about {x}.",
    "I searched for {x}, but I don't know: nothing was found.",
    "I could not find anything about {x}, so I don't know.",
)
NOT_THERE = ("I don't know. What I found does not say.", "I searched, but what I found does not say, so I don't know.")
NOT_THERE_SHARE = 0.25  # of the questions whose answer is not found: taught to be refused; the others are left out
LONG = 60  # words
PLAIN_TEXTS = 64
OTHER_NAME = "Basil"  # of the task `override`
NAMED_BY_SYSTEM = ("I am Tumbler, a small language model.", "My name is Tumbler.")
TRAINING_SHARE = 0.6  # of SQuAD's articles


@dataclass
class PracticeArguments:
    facts_dir: str = field(metadata={"help": "folder of facts.jsonl, famous.yaml, wordings.yaml"})
    output_dir: str = field(metadata={"help": "folder to write"})
    squad: str | None = field(
        default=None, metadata={"help": "SQuAD or XQuAD: a Hub id or a file; without it search knows the facts alone"}
    )
    squad_split: str = field(default="train", metadata={"help": "its split"})
    searches: int = field(default=600, metadata={"help": "at most so many questions for search in practice"})
    codes: int = field(default=400, metadata={"help": "problems for Python in practice"})
    exam_questions: int = field(default=300, metadata={"help": "at most so many questions for search in the exam"})
    exam_problems: int = field(default=100, metadata={"help": "of each kind of problem in the exam"})
    seed: int = field(default=0, metadata={"help": "of drawing and of the split"})


@dataclass(frozen=True)
class Question:
    """A question, the texts that are right, and the sentence of the paragraph that says so."""

    text: str
    answers: list[str]
    sentence: str


@dataclass(frozen=True)
class Passage:
    """A paragraph with what is asked about it.

    Attributes:
        title: of the subject or the article.
    """

    title: str
    text: str
    side: str
    questions: list["Question"]

    @property
    def is_article(self) -> bool:
        """Whether it is long; no paragraph on the facts is, nearly all of SQuAD's are."""
        return len(self.text.split()) >= LONG


# ---- Passages ----


def statement(form: str, subject: str, answer: str) -> str:
    text = form.format(x=subject, a=answer)
    return text[0].upper() + text[1:]


def fact_passages(facts: list[dict], wordings_file: dict, seed: int) -> list[Passage]:
    """A paragraph on each subject with all that is known of it, and a question on each fact in the words of its
    side."""
    rng = random.Random(f"passages-{seed}")
    of_subject: dict[str, list[dict]] = {}
    for row in facts:
        of_subject.setdefault(row["subject"], []).append(row)
    out = []
    for subject, rows in of_subject.items():
        side = side_of(subject, seed)
        stated = [statement(wordings_file["statements"][r["relation"]], subject, r["answer"][0]) for r in rows]
        questions = []
        for row, sentence in zip(rows, stated):
            question = rng.choice(wordings_file["relations"][row["relation"]][side]).format(x=subject)
            questions.append(Question(question[0].upper() + question[1:], row["answer"], sentence))
        out.append(Passage(subject, " ".join(stated), side, questions))
    return out


def article_side(title: str, seed: int) -> str:
    """train for `TRAINING_SHARE` of the articles, test for the others."""
    return SIDES[random.Random(f"article-{title}-{seed}").random() >= TRAINING_SHARE]


def asked(row: dict, context: str) -> Question | None:
    """A question of SQuAD, in its two forms: answers as a mapping of lists, or as a list of mappings; None without
    an answer."""
    given = row["answers"]
    if isinstance(given, dict):
        found = list(zip(given["text"], given["answer_start"]))
    else:
        found = [(one["text"], one["answer_start"]) for one in given]
    if not found:
        return None
    texts = list(dict.fromkeys(text for text, _ in found))
    text, start = found[0]
    return Question(row["question"].strip(), texts, sentence_around(context, start, start + len(text)))


def squad_passages(path: str, split: str, seed: int) -> list[Passage]:
    """The paragraphs of SQuAD or of a set in its form; questions without an answer are left out and counted.

    Raises:
        UserError: it cannot be read, or has another form.
    """
    from data_prep.schemas.questions import article_list
    from data_prep.shared.sources import load_source

    data = load_source({"path": path, "split": split})
    of_text: dict[tuple[str, str], list[Question]] = {}
    unanswered = 0
    try:
        for row in data:
            if "context" in row:
                texts = [(row["title"], row["context"], [row])]
            else:
                texts = [
                    (article["title"], paragraph["context"], paragraph["qas"])
                    for article in article_list(row)
                    for paragraph in article["paragraphs"]
                ]
            for title, text, questions in texts:
                found = of_text.setdefault((title, text), [])
                for one in questions:
                    question = asked(one, text)
                    unanswered += question is None
                    if question:
                        found.append(question)
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path} has not the form of SQuAD (title, context, question, answers): {type(error).__name__}: {error}"
        ) from None
    if unanswered:
        print(f"{path}: {unanswered} questions without an answer left out")
    return [
        Passage(title.replace("_", " "), text, article_side(title, seed), questions)
        for (title, text), questions in of_text.items()
    ]


# ---- Practice ----


def search_row(question: Question, otherwise: str | None = None) -> dict:
    """A question, the search for it, and the sentence that answers it where the result holds that; without it the
    reply `otherwise`, or no row."""
    row = {"question": question.text, "tool": "search", "query": question.text, "reply": question.sentence}
    evidence = {"evidence": [question.sentence]}
    return row | evidence | ({"otherwise": otherwise} if otherwise else {})


def search_practice(passages: list[Passage], invented: dict, count: int, seed: int) -> list[dict]:
    """Up to `count` questions for search: a third on invented things, of which nothing is found, a sixth on facts, the
    others on SQuAD's paragraphs; without these as many on facts. Where what is found does not hold the answer,
    `NOT_THERE_SHARE` of the questions are refused and the others dropped."""
    rng = random.Random(f"search-{seed}")
    kinds = [kind for kind, forms in invented.items() if forms["train"]]
    rows = []
    for number, name in enumerate(names_in_turn(kinds, count // 3, seed)):
        kind = kinds[number % len(kinds)]
        question = rng.choice(invented[kind]["train"]).format(x=name)
        rows.append(search_row(Question(question, [name], name), rng.choice(NOT_FOUND).format(x=name)))
    of_facts = asked_in([p for p in passages if p.side == "train" and not p.is_article])
    of_articles = asked_in([p for p in passages if p.side == "train" and p.is_article])
    wanted = count // 6 if of_articles else count - len(rows)
    chosen = rng.sample(of_facts, min(wanted, len(of_facts)))
    chosen += rng.sample(of_articles, min(count - len(rows) - len(chosen), len(of_articles)))
    rows += [
        search_row(question, rng.choice(NOT_THERE) if rng.random() < NOT_THERE_SHARE else None) for question in chosen
    ]
    rng.shuffle(rows)
    return rows


def names_in_turn(kinds: list[str], count: int, seed: int) -> list[str]:
    """`count` invented names for practice with search, of each kind in turn; others than those of the refusals."""
    each = -(-count // len(kinds))
    named = [names(kind, "train", each, seed + 1000) for kind in kinds]
    return [name for turn in zip(*named) for name in turn][:count]


def asked_in(passages: list[Passage]) -> list[Question]:
    return [question for passage in passages for question in passage.questions]


def python_practice(count: int, seed: int) -> list[dict]:
    """Problems with the code that solves them, half in the words of people; strings in single quotes, which a call in
    JSON need not escape."""
    rng = random.Random(f"python-{seed}")
    rows = []
    for _ in range(count):
        (kind,) = rng.choices(PYTHON, (30, 30, 15, 25))
        word = [textbooks.real_word(rng)] if kind in ("letters", "every_third") and rng.random() < 0.6 else []
        p = problems.GENERATORS[kind](rng, "train", *word)
        reply = 'The answer is "{result}".' if p.verifier == "final_text" else "The answer is {result}."
        row = {"question": textbooks.worded(rng, kind, p), "tool": "python", "query": p.code.replace('"', "'")}
        rows.append(row | {"reply": reply, "answer": p.answer, "verifier": p.verifier})
    return rows


# ---- Exam ----


def search_exam(passages: list[Passage], count: int, seed: int) -> tuple[list[dict], list[dict]]:
    """Questions for search, and the same with their paragraph before them: of SQuAD's test articles, where there are
    any, else on the facts of test subjects."""
    rng = random.Random(f"search-exam-{seed}")
    held_out = [p for p in passages if p.side == "test"]
    articles = [p for p in held_out if p.is_article]
    everything = [(p.text, question) for p in articles or held_out for question in p.questions]
    chosen = rng.sample(everything, min(count, len(everything)))
    alone = [{"question": question.text, "answer": question.answers} for _, question in chosen]
    pasted = [{"question": f"{text}\n\n{question.text}", "answer": question.answers} for text, question in chosen]
    return alone, pasted


def problem_exam(kind: str, count: int, seed: int) -> list[dict]:
    """Problems of held-out words or numbers, half in held-out kinds of wording."""
    rng = random.Random(f"{kind}-exam-{seed}")
    rows = []
    for number in range(count):
        p = problems.GENERATORS[kind](rng, "test")
        question = p.question if number % 2 else wordings.problem(rng, kind, p.slots, held_out=True)
        rows.append({"question": question, "answer": p.answer})
    return rows


def sums_exam(count: int, seed: int) -> list[dict]:
    """Sums in a sentence, as `data_prep.problems` asks them."""
    rng = random.Random(f"sums-exam-{seed}")
    drawn = [problems.GENERATORS["sums"](rng, "test") for _ in range(count)]
    return [{"question": p.question + problems.STEPS, "answer": p.answer} for p in drawn]


def plain_texts(passages: list[Passage]) -> list[str]:
    """Up to `PLAIN_TEXTS` texts that nothing trains on: of SQuAD's test articles, else of Python's manual."""
    texts = [p.text for p in passages if p.side == "test" and p.is_article]
    if not texts:
        from pydoc_data.topics import topics

        texts = [text[:1200] for text in topics.values() if len(text) >= 1200]
    return texts[:PLAIN_TEXTS]


def write_exam(folder: Path, passages: list[Passage], args: PracticeArguments) -> None:
    alone, pasted = search_exam(passages, args.exam_questions, args.seed)
    write_jsonl(folder / "search.jsonl", alone)
    write_jsonl(folder / "search_pasted.jsonl", pasted)
    for kind in PYTHON:
        write_jsonl(folder / f"{kind}.jsonl", problem_exam(kind, args.exam_problems, args.seed))
    write_jsonl(folder / "sums.jsonl", sums_exam(args.exam_problems, args.seed))
    rng = random.Random(f"identity-{args.seed}")
    who = identity(test=True)
    chosen = rng.sample(who, min(2 * args.exam_problems, len(who)))
    write_jsonl(folder / "identity.jsonl", [{"question": question, "answer": "Tumbler"} for question, _ in chosen])
    other = [{"question": q, "answer": OTHER_NAME} for q, reply in chosen if reply in NAMED_BY_SYSTEM]
    write_jsonl(folder / "override.jsonl", other)
    write_jsonl(folder / "plain_text.jsonl", [{"text": text} for text in plain_texts(passages)])


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((PracticeArguments,), argv)
    words = read_yaml(args.facts_dir, "wordings.yaml")
    facts = read_facts(args.facts_dir)
    try:
        passages = fact_passages(facts, words, args.seed)
        if args.squad:
            passages += squad_passages(args.squad, args.squad_split, args.seed)
        rows = search_practice(passages, words["invented"], args.searches, args.seed)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"wordings.yaml in {args.facts_dir} lacks a part ({type(error).__name__}: {error}):"
            " recipes/smollm2-135m/facts is a pattern"
        ) from None
    rows += python_practice(args.codes, args.seed)
    random.Random(f"practice-{args.seed}").shuffle(rows)
    out = output_folder(args.output_dir)
    library, exam = output_folder(out / "library"), output_folder(out / "exam")
    documents = [
        {"id": str(number), "text": "\n".join(sentences(passage.text)), "metadata": {"title": passage.title}}
        for number, passage in enumerate(passages)
    ]
    write_jsonl(library / "documents.jsonl", documents)
    write_jsonl(out / "tool_use.jsonl", rows)
    write_jsonl(out / "identity.jsonl", [chat(*pair, "identity") for pair in identity(test=False)])
    write_exam(exam, passages, args)
    print(f"{out}: {len(documents)} documents, {len(rows)} questions for tools")


if __name__ == "__main__":
    main()
