"""Knowledge refusals by probing: a model learns to say "I don't know" where it does not, and to answer where it does.

    python -m data_prep.refusals --config recipes/tiny/refusals.yaml
    python -m data_prep.refusals --model runs/tiny/sft --questions runs/tiny/world/questions.jsonl --output_dir \
        runs/tiny/refusals
    python -m data_prep.refusals --model http://localhost:8000/v1 --model_name Qwen/Qwen3-8B --output_dir \
        runs/refusals \
        --questions '{"path": "google-research-datasets/nq_open", "split": "train"}' --limit 10000

Each question is asked `samples` times, each reply is held against the reference. At least `knows_at` of them right:
the model knows; at most `unknown_at`: it does not; else it is unsure. A reply that refuses is not right. Where half of
the replies or more cannot be judged, neither can the question: verdict `unjudged`, counted, not in training.

`questions` are of a published set in its own form (TriviaQA, PopQA, SQuAD, …: docs/data.md), or have `question`,
`answer` (a text, a list of aliases, or a mapping with `aliases` or `text`), `choices` where the answer can take few
values, and `subject` where several ask about one person or thing: of few values a guess is often right, so what the
model knows becomes a training row only if all replies about its subject together reach `knows_at`. Other columns are
not kept. Instead `documents` with `text` can be given: a writer makes a question and its answer out of the beginning
of each, kept if the answer stands there and the question does not give it away.

The output folder, all JSON lines:

    probes      question, answer (list), choices, samples, finished, right, agreement, verdict; in the order of the
                questions
    train       messages, kind (refusal or known), probe; as many known as refusals (`known_per_unknown`), drawn by
                seed
    questions   what was asked; passages, written: what the writer was given, and each of its replies with why it was
                dropped
    summary, settings (.json)   counts, calibration, where the replies are from; what decides the probes

Agreement is the share of samples that give the same answer as most do (`data_prep.shared.agreement`). `auc` in the
summary says how well it tells what is known from what is not, where the reference is not looked at: with it, right
replies agree by definition. A killed run resumes after its last whole chunk; its files are byte-identical to an
unbroken run's.

The method is Llama 3's (Grattafiori et al. 2024, section 4.3.6), but for its score of how informative a reply is, and
the variant of R-Tuning (Zhang et al. 2024) that refuses. R-Tuning marks what lies in between "I am unsure"; here it is
left out.
"""

import collections
import dataclasses
import hashlib
import inspect
import itertools
import json
import math
import random
import re
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from data_prep.schemas import converted, fitting, reasons
from data_prep.schemas.questions import NO_ANSWER, named_by_place
from data_prep.shared.agreement import auc, auc_interval, first_sentence, same_answer
from data_prep.shared.chunks import by_chunks, dump, require_same, stream, whole_chunks
from data_prep.shared.dataset_rows import columns_of, find_parts, read_rows
from data_prep.shared.sources import print_left_out
from eval.cli import UserError, command, existing, output_folder, parse, whole, write_json
from eval.generation.models import load_tokenizer, require_chat_template
from eval.generation.replies import Replier, Reply
from eval.shared.fingerprints import model_fingerprint
from eval.verifiers import VERIFIERS, get_verifier, normal_words, refusal, reply

JUDGES = [name for name, f in VERIFIERS.items() if "answer" in inspect.signature(f).parameters]
F1_AT = 0.6  # "Paris or Rome" has 0.5
KNOWS, UNKNOWN, UNSURE, UNJUDGED = VERDICTS = ("knows", "does not know", "unsure", "unjudged")
EXAMPLES, SHOWN = 2, 100  # questions of a verdict that are printed, characters of each reply
WRITER_TEMPERATURE = 0.7
NO_REPLY = {
    "output_dir",
    "questions",
    "documents",
    "limit",
    "knows_at",
    "unknown_at",
    "known_per_unknown",
    "phrasings",
    "batch_size",
}  # decide none, or by content
PHRASINGS = (
    "I don't know.",
    "I do not know that.",
    "Sorry, I don't know.",
    "I'm not sure, so I would rather not guess.",
    "I don't know; it would have to be looked up.",
    "I can't say.",
    "That is not known to me.",
    "I have no information about that. A search may help.",
    "I cannot answer that from memory, but it could be looked up.",
    "I don't recall that.",
    "I am not certain, and I do not want to make something up.",
    "I honestly don't know. An encyclopedia or a search engine may help.",
    "I'm not familiar with that.",
    "I do not have that information.",
    "I'm afraid I don't know. Please look it up in a source you trust.",
    "I could not tell you without looking it up.",
)
WRITE = """Passage:
{passage}

Write one question about a fact that stands in this passage, and its answer. The question names whom or what it is\
 about, so that
somebody who has not seen the passage understands it, and does not contain the answer. The answer is a few words of\
 the passage.
Write two lines:
Question: ...
Answer: ..."""
JUDGE = """Question: {question}
Reference answer: {answer}

<reply>
{reply}
</reply>

Does the reply state the same answer to the question as the reference? Begin with yes or no."""
WRITTEN = re.compile(r"^\W*(question|answer)\W*?:[\s*]*(.*?)[\s*]*$", re.IGNORECASE | re.MULTILINE)
OF_PASSAGE = re.compile(r"\b(?:this|the|above) (?:passage|text|article|document|excerpt|author)\b", re.IGNORECASE)
YES_NO = re.compile(r"\W*(yes|no)\b(?!\s*(?:/|or\b|and\b))", re.IGNORECASE)


@dataclass
class RefusalsArguments:
    MAPPINGS: ClassVar = ("questions", "documents")  # lists whose elements may be sources

    model: str = field(metadata={"help": "folder, Hub id or endpoint (URL up to /v1) of the model that is asked"})
    output_dir: str = field(metadata={"help": "folder to write"})
    questions: list[str] = field(
        default_factory=list,
        metadata={"help": "files, globs, folders, Hub ids or sources as JSON, with `question`, `answer`, `choices`"},
    )
    documents: list[str] = field(
        default_factory=list, metadata={"help": "in the same forms, with `text`: the questions are written about them"}
    )
    limit: int | None = field(default=None, metadata={"help": "only the first questions, or documents"})
    model_name: str | None = field(default=None, metadata={"help": "of the model behind an endpoint"})
    revision: str | None = field(default=None, metadata={"help": "of the model on the Hub"})
    samples: int = field(default=5, metadata={"help": "replies to each question"})
    temperature: float = field(default=1.0, metadata={"help": "of the replies"})
    system: str | None = field(default=None, metadata={"help": "system message before each question"})
    one_sentence: bool = field(
        default=False,
        metadata={"help": "judge, compare and teach a reply's first sentence only: what stands behind may be cut"},
    )
    max_new_tokens: int = field(default=64, metadata={"help": "of a reply"})
    judge: str | None = field(
        default=None,
        metadata={
            "help": f"{', '.join(JUDGES)} or model (default: names_choice where a row has choices, else mentions)"
        },
    )
    f1_at: float | None = field(
        default=None, metadata={"help": f"token_f1 from which a reply is right (default: {F1_AT})"}
    )
    judge_model: str | None = field(default=None, metadata={"help": "folder, Hub id or endpoint of the judge `model`"})
    judge_name: str | None = field(default=None, metadata={"help": "of the judge behind an endpoint"})
    judge_max_new_tokens: int = field(default=16, metadata={"help": "of a judgement; more for one that thinks first"})
    knows_at: float = field(default=0.8, metadata={"help": "share of right replies from which the model knows"})
    unknown_at: float = field(default=0.2, metadata={"help": "share of right replies up to which it does not know"})
    known_per_unknown: float = field(default=1.0, metadata={"help": "known rows for each refusal"})
    phrasings: str | None = field(
        default=None, metadata={"help": "text file of refusals, one a line, instead of the built-in ones"}
    )
    writer: str | None = field(
        default=None,
        metadata={"help": "folder, Hub id or endpoint of the model that writes questions (default: the model itself)"},
    )
    writer_name: str | None = field(default=None, metadata={"help": "of the writer behind an endpoint"})
    writer_max_new_tokens: int = field(
        default=96, metadata={"help": "of a question with its answer; more for a writer that thinks first"}
    )
    passage_characters: int = field(default=1500, metadata={"help": "of a document that the writer sees"})
    chunk: int = field(default=64, metadata={"help": "questions asked, and written, at a time"})
    batch_size: int = field(default=256, metadata={"help": "replies at a time, of a model that runs here"})
    backend: str = field(
        default="transformers",
        metadata={"help": "of `model` where it runs here: transformers or vllm; judge and writer run on transformers"},
    )
    seed: int = field(default=0, metadata={"help": "of sampling and drawing"})


def check(args: RefusalsArguments) -> None:
    if bool(args.questions) == bool(args.documents):
        raise UserError(
            "give either questions (rows of question and answer) or documents (rows of text, about which questions are"
            " written)"
        )
    for name in (
        "limit",
        "samples",
        "chunk",
        "batch_size",
        "passage_characters",
        "max_new_tokens",
        "judge_max_new_tokens",
        "writer_max_new_tokens",
    ):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, but is {value}")
    if args.seed < 0 or args.temperature < 0 or (args.samples > 1 and not args.temperature):
        raise UserError(
            "seed and temperature must be at least 0, the latter above 0 for more than one sample, but are"
            f" {args.seed} and {args.temperature}"
        )
    if not 0 <= args.unknown_at < args.knows_at <= 1:
        raise UserError(
            f"unknown_at must be below knows_at, both from 0 to 1, but are {args.unknown_at} and {args.knows_at}"
        )
    if not 0 < args.known_per_unknown < math.inf:
        raise UserError(f"known_per_unknown must be above 0, but is {args.known_per_unknown}")
    if args.judge not in (None, "model", *JUDGES):
        raise UserError(f"judge must be one of {', '.join(JUDGES)}, model, but is {args.judge}")
    if (args.judge == "model") != bool(args.judge_model) or (args.judge_name and not args.judge_model):
        raise UserError(
            "judge_model (and for an endpoint judge_name) goes with the judge `model`, and only with it: give --judge"
            " model --judge_model …"
        )
    if args.f1_at is not None and not (args.judge == "token_f1" and 0 < args.f1_at <= 1):
        raise UserError(
            f"f1_at goes with the judge token_f1 and must lie above 0 and at most at 1, but is {args.f1_at} with the"
            f" judge {args.judge}"
        )
    if args.writer and not args.documents or args.writer_name and not args.writer:
        raise UserError("writer goes with documents, and writer_name with a writer behind an endpoint")
    for key, owner in (
        ("judge_max_new_tokens", "judge_model"),
        ("writer_max_new_tokens", "documents"),
        ("passage_characters", "documents"),
    ):
        if getattr(args, key) != getattr(RefusalsArguments, key) and not getattr(args, owner):
            raise UserError(f"{key} goes with {owner}, and does nothing without: leave it out")


def read_phrasings(path: str | None) -> list[str]:
    if path is None:
        return list(PHRASINGS)
    try:
        lines = (
            existing(path, "phrasings", "give a text file with one refusal a line")
            .read_text(encoding="utf-8")
            .splitlines()
        )
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"phrasings {path} cannot be read as text ({error}): give a text file with one refusal a line"
        ) from None
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise UserError(f"phrasings {path} is empty: give a text file with one refusal a line")
    return lines


# ---- What is asked ----


def question_row(row: dict, where: str) -> dict:
    """`question`, `answer` (list of texts) and, if there are any, `choices` and `subject` of a row.

    Raises:
        UserError: one of them is missing or no text.
    """
    question, answer, choices = row.get("question"), row.get("answer"), row.get("choices") or []
    answer = named_by_place(answer, choices)
    if not isinstance(question, str) or not question.strip():
        columns = ", ".join(map(str, row))
        raise UserError(
            f"{where} has no question: expected a text, but found {str(question)[:80]!r} (columns: {columns});"
            " `rename` of a source maps columns"
        )
    if isinstance(answer, dict):  # TriviaQA, SQuAD
        answer = answer.get("aliases") or answer.get("text") or answer.get("value")
    answers = [
        str(a).strip() if isinstance(a, (str, int, float)) and not isinstance(a, bool) else ""
        for a in (answer if isinstance(answer, list) else [answer])
    ]
    if not answers or not all(answers):
        raise UserError(
            f"{where} has no answer: expected a text or a list of texts, but found {str(answer)[:80]!r}; a question"
            " without a reference cannot be probed"
        )
    if not isinstance(choices, list) or not all(isinstance(c, str) and c.strip() for c in choices):
        raise UserError(
            f"{where}: choices must be a list of texts, the values that the answer can take, but found"
            f" {str(choices)[:80]!r}"
        )
    subject = row.get("subject") or ""
    if not isinstance(subject, str):
        raise UserError(
            f"{where}: subject must be a text, who or what the question is about, but found {str(subject)[:80]!r}"
        )
    return (
        {"question": question.strip(), "answer": answers}
        | ({"choices": choices} if choices else {})
        | ({"subject": subject} if subject else {})
    )


def passage_row(row: dict, where: str, most: int) -> dict:
    """The beginning of a document, up to `most` characters, whole words."""
    text = row[columns_of(row, ("text",), where)[0]]
    if not isinstance(text, str):
        raise UserError(f"{where}: text must be a text, but found {str(text)[:80]!r}")
    words = re.match(rf"(?s).{{,{most}}}(?!\S)", text)
    return {"text": (words[0] if words else text[:most]).strip()}


def questions_of(row: dict, where: str, left_out: collections.Counter) -> list[dict]:
    """The questions of a row: of our own form, which must be whole, or of a published one
    (`data_prep.schemas.questions`), counted where it has no reference."""
    if "question" in row and "answer" in row:
        if isinstance(row["answer"], dict) and row["answer"].get("text") == []:  # SQuAD's unanswerable ones
            left_out[NO_ANSWER] += 1
            return []
        return [question_row(row, where)]
    schema = fitting(row, row, "question")
    if not schema:
        return [question_row(row, where)]  # says what it lacks
    found, reason = converted(schema, row)
    left_out.update([reason] if reason else [])
    return found


def read_inputs(args: RefusalsArguments, left_out: collections.Counter) -> Iterator[dict]:
    for part in find_parts(args.questions or args.documents):
        for number, _, row in read_rows(part):
            where = f"{part.path}, row {number}"
            yield from (
                questions_of(row, where, left_out)
                if args.questions
                else [passage_row(row, where, args.passage_characters)]
            )


class Settings:
    """settings.json: what decides the replies in a folder, and where they are from.

    Attributes:
        thresholds: of the verdicts in the folder; None where they are of several.
    """

    def __init__(self, folder: Path, args: RefusalsArguments, inputs: str):
        self.path, self.provenance, self.thresholds = folder / "settings.json", {}, [args.knows_at, args.unknown_at]
        self.settings = {key: value for key, value in dataclasses.asdict(args).items() if key not in NO_REPLY}
        for model in filter(None, {args.model, args.writer, args.judge_model}):
            if Path(model).is_dir():  # a stage may be run again in its place
                self.settings[f"files of {model}"] = model_fingerprint(model)
        self.settings["passages" if args.documents else "questions"] = inputs
        done = [
            name
            for name in ("written.jsonl", "probes.jsonl")
            if (folder / name).exists() and (folder / name).stat().st_size
        ]
        if done and not self.path.exists():
            raise UserError(
                f"{folder} holds {done[0]} without settings.json, so nothing says where it is from: delete the folder,"
                " or choose another --output_dir"
            )
        if not done:  # settings of a run that failed before it had a reply bind nobody
            return
        try:
            stored = json.loads(self.path.read_text())
            before, self.provenance, thresholds = (
                dict(stored["settings"]),
                dict(stored["provenance"]),
                stored["thresholds"],
            )
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{self.path} cannot be read: delete the folder, or choose another --output_dir") from None
        self.thresholds = self.thresholds if thresholds == self.thresholds else None
        require_same(before, self.settings, folder)

    def write(self, **provenance: dict) -> None:
        self.provenance |= provenance
        write_json(
            self.path,
            {"settings": self.settings, "thresholds": self.thresholds, "provenance": self.provenance},
            ensure_ascii=False,
        )


# ---- Questions out of documents ----


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
    if args.writer:  # that the model is there is known before the work
        start_model(args, "model", weights=False)
    writer = start_model(args, "writer")
    settings.write(writer=writer.provenance)

    def work(rows: list[dict], seed: int) -> list[dict]:
        replies = writer([[{"role": "user", "content": WRITE.format(passage=row["text"])}] for row in rows], seed=seed)
        return [written_row(row["text"], r.text, r.finished) for row, (r,) in zip(rows, replies)]

    return work


def keep_questions(written: Path, questions: Path) -> collections.Counter:
    """Write the questions that are kept; the counts of what was dropped, by reason, and of what is `kept`.

    Raises:
        UserError: nothing is kept.
    """
    counts, seen = collections.Counter(), set()
    with whole(questions) as file:
        for row in stream(written):
            key = hashlib.blake2b(" ".join(normal_words(row["question"] or "")).encode(), digest_size=8).digest()
            dropped = row["dropped"] or ("the same question stands before" if key in seen else None)
            counts[dropped or "kept"] += 1
            if not dropped:
                seen.add(key)
                file.write(dump({"question": row["question"], "answer": [row["answer"]]}))
        dropped = [f"{n:,} dropped: {why}" for why, n in counts.most_common() if why != "kept"]
        print(
            "; ".join([f"{questions.name}: {counts['kept']:,} written about {counts.total():,} documents", *dropped])
        )
        if not counts["kept"]:
            raise UserError(f"no usable question was written ({written} says why): give another --writer")
    return counts


# ---- Probing ----


def start_model(args: RefusalsArguments, role: str, weights: bool = True) -> Replier | None:
    """The `model`, `writer` or `judge`; the writer may be the model itself. Without weights: only whether it can be
    had.

    Raises:
        UserError: it cannot.
    """
    itself = role == "model" or (role == "writer" and not args.writer)
    model = {"model": args.model, "writer": args.writer or args.model, "judge": args.judge_model}[role]
    max_new_tokens = {
        "model": args.max_new_tokens,
        "writer": args.writer_max_new_tokens,
        "judge": args.judge_max_new_tokens,
    }[role]
    temperature = {"model": args.temperature, "writer": WRITER_TEMPERATURE, "judge": 0.0}[role]
    name, revision = args.model_name if itself else getattr(args, f"{role}_name"), args.revision if itself else None
    if not weights and not name:
        return require_chat_template(load_tokenizer(model, revision=revision), model)
    backend = args.backend if role == "model" else "transformers"
    return Replier(model, max_new_tokens, temperature, name, revision, args.batch_size, backend)


def verified(row: dict, text: str, args: RefusalsArguments) -> bool | None:
    """Whether a reply is right by the verifier, for any alias of the answer."""
    name = args.judge or ("names_choice" if "choices" in row else "mentions")
    aliases = {a.casefold() for a in row["answer"]}
    others = [c for c in row.get("choices", ()) if c.casefold() not in aliases]
    scores = [get_verifier(name)(text, answer=a, choices=others) for a in row["answer"]]
    judged = [s for s in scores if s is not None]
    return max(judged) >= ((args.f1_at or F1_AT) if name == "token_f1" else 1.0) if judged else None


def judgements(judge: Replier, asked: list[tuple[dict, str]]) -> list[bool | None]:
    """Whether the judge calls each reply right; None where it begins with neither yes nor no."""
    prompts = [
        JUDGE.format(question=row["question"], answer=" or ".join(row["answer"]), reply=reply(text))
        for row, text in asked
    ]
    said = (
        [YES_NO.match(reply(r.text)) for (r,) in judge([[{"role": "user", "content": p}] for p in prompts])]
        if prompts
        else []
    )
    return [None if m is None else m[1].casefold() == "yes" for m in said]


def asked_as(question: str, system: str | None) -> list[dict]:
    """The conversation that asks it, behind the system message if there is one."""
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": question}]


def opening(given: Reply) -> Reply:
    """The first sentence of a reply, which is whole wherever the reply was cut; one without an end stays as it is."""
    sentence = first_sentence(given.text)
    return given if sentence is None else Reply(sentence, True)


def refuses(text: str) -> bool:
    return refusal(text) == 1.0


def verdict(right: list[bool | None], knows_at: float, unknown_at: float) -> str:
    judged = [r for r in right if r is not None]
    if 2 * len(judged) <= len(right):
        return UNJUDGED
    share = sum(judged) / len(judged)
    return KNOWS if share >= knows_at else UNKNOWN if share <= unknown_at else UNSURE


def start_probing(args: RefusalsArguments, settings: Settings) -> Callable[[list[dict], int], list[dict]]:
    model = start_model(args, "model")
    judge = start_model(args, "judge") if args.judge_model else None
    settings.write(model=model.provenance, **({"judge": judge.provenance} if judge else {}))

    def work(rows: list[dict], seed: int) -> list[dict]:
        replies = model([asked_as(row["question"], args.system) for row in rows], samples=args.samples, seed=seed)
        if args.one_sentence:
            replies = [[opening(r) for r in some] for some in replies]
        # What refuses or says nothing is wrong. The rest is judged, by the judge once for each text.
        right: dict[tuple[int, str], bool | None] = {
            (i, r.text): False for i, some in enumerate(replies) for r in some
        }
        open_ = [key for key in right if reply(key[1]) and not refuses(key[1])]
        asked = [(rows[i], text) for i, text in open_]
        right |= zip(open_, judgements(judge, asked) if judge else [verified(row, text, args) for row, text in asked])
        out = []
        for i, (row, some) in enumerate(zip(rows, replies)):
            samples, marks = [r.text for r in some], [right[i, r.text] for r in some]
            agreement = len(same_answer(row, samples)[0]) / len(samples)
            probe = {
                "samples": samples,
                "finished": [r.finished for r in some],
                "right": marks,
                "agreement": agreement,
            }
            out.append({**row, **probe, "verdict": verdict(marks, args.knows_at, args.unknown_at)})
        return out

    return work


def new_verdicts(probes: Path, args: RefusalsArguments) -> None:
    """The verdicts by other thresholds than those before; nothing is asked again."""
    with whole(probes) as file:
        for probe in stream(probes):
            file.write(dump(probe | {"verdict": verdict(probe["right"], args.knows_at, args.unknown_at)}))


# ---- Training rows ----


def own_words(probe: dict) -> str | None:
    """The model's right answer: the first in the most frequent words of those samples that are right and finished."""
    samples = [
        text
        for text, right, finished in zip(probe["samples"], probe["right"], probe["finished"])
        if right and finished
    ]
    if not samples:
        return None
    words = [tuple(normal_words(reply(text))) for text in samples]
    return samples[words.index(collections.Counter(words).most_common(1)[0][0])].strip()


def guessed_subjects(probes: Iterable[dict], knows_at: float) -> set[str]:
    """The subjects whose judged replies, all together, are right less often than `knows_at`."""
    right, judged = collections.Counter(), collections.Counter()
    for probe in probes:
        if "subject" in probe:
            right[probe["subject"]] += probe["right"].count(True)
            judged[probe["subject"]] += len(probe["right"]) - probe["right"].count(None)
    return {subject for subject, n in judged.items() if right[subject] < knows_at * n}


def separation(known: array, unknown: array) -> dict | None:
    """How well agreement tells known from unknown questions: AUC and half its 95 % interval; None of one kind."""
    area = auc(known, unknown)
    if area is None:
        return None
    half = auc_interval(area, len(known), len(unknown))
    return {"value": area, "half_width": half, "known": len(known), "unknown": len(unknown)}


def survey(probes: Iterable[dict], guessed: set[str]) -> dict:
    """What the probes show: counts, calibration, examples, and the places of the questions that can become training
    rows."""
    agreements = collections.defaultdict(lambda: array("d"))
    counts, bins, replies = collections.Counter(), collections.defaultdict(lambda: [0, 0.0, 0]), collections.Counter()
    examples, places = collections.defaultdict(list), {KNOWS: array("Q"), UNKNOWN: array("Q")}
    for place, probe in enumerate(probes):
        kind, most = probe["verdict"], same_answer(probe, probe["samples"])[0][0]
        counts[kind] += 1
        blind = {key: value for key, value in probe.items() if key != "answer"} | {"answer": []}
        agreements[kind].append(len(same_answer(blind, probe["samples"])[0]) / len(probe["samples"]))
        replies.update(
            n=len(probe["samples"]),
            refused=sum(map(refuses, probe["samples"])),
            cut=probe["finished"].count(False),
            unjudged=probe["right"].count(None),
        )
        if len(examples[kind]) < EXAMPLES:
            examples[kind].append(
                {key: probe[key] for key in ("question", "answer", "agreement")} | {"sample": probe["samples"][most]}
            )
        if kind == KNOWS and probe.get("subject") in guessed:
            counts["guessed"] += 1
        elif kind == UNKNOWN or (kind == KNOWS and own_words(probe) is not None):
            places[kind].append(place)
        if kind != UNJUDGED:
            judged = [r for r in probe["right"] if r is not None]
            row = bins[probe["agreement"]]
            row[0] += 1
            row[1] += sum(judged) / len(judged)
            row[2] += bool(probe["right"][most])
    calibration = [
        {"agreement": a, "n": n, "mean_right": mean / n, "majority_right": majority / n}
        for a, (n, mean, majority) in sorted(bins.items())
    ]
    return {
        "verdicts": {v: counts[v] for v in VERDICTS},
        "auc": separation(agreements[KNOWS], agreements[UNKNOWN]),
        "guessed": counts["guessed"],
        "replies": dict(replies),
        "calibration": calibration,
        "examples": examples,
        "places": places,
    }


def draw(places: dict[str, array], known_per_unknown: float, seed: int) -> tuple[set[int], set[int]]:
    """The places of the questions that become refusals and known rows: as many as the scarcer of both allows."""
    known, unknown = places[KNOWS], places[UNKNOWN]
    refusals = min(len(unknown), max(1, int(len(known) / known_per_unknown)))
    answers = min(len(known), max(1, round(refusals * known_per_unknown)))
    rng = random.Random(f"refusals-{seed}")
    return set(rng.sample(unknown, refusals)), set(rng.sample(known, answers))


def train_rows(
    probes: Iterable[dict], refusals: set[int], known: set[int], phrasings: list[str], seed: int
) -> Iterator[dict]:
    for place, probe in enumerate(probes):
        if place in refusals or place in known:
            says = (
                random.Random(f"phrasing-{seed}-{place}").choice(phrasings) if place in refusals else own_words(probe)
            )
            yield {
                "messages": [{"role": "user", "content": probe["question"]}, {"role": "assistant", "content": says}],
                "kind": "refusal" if place in refusals else "known",
                "probe": {key: probe[key] for key in ("question", "samples", "right", "agreement", "verdict")},
            }


def show(summary: dict, examples: dict[str, list[dict]]) -> None:
    verdicts, replies = summary["verdicts"], summary["replies"]
    print(f"{summary['questions']:,} questions: " + ", ".join(f"{n:,} {v}" for v, n in verdicts.items()))
    if summary["guessed"]:
        print(f"{summary['guessed']:,} of those known are left out: the replies about their subject are mostly wrong")
    print(
        f"{replies['n']:,} replies: {replies['refused']:,} refuse, {replies['cut']:,} were cut at max_new_tokens,"
        f" {replies['unjudged']:,} could not be judged"
    )
    if summary["auc"]:
        area = summary["auc"]
        print(f"agreement tells known from unknown with AUC {area['value']:.3f} ± {area['half_width']:.3f}")
    print("agreement  questions  right replies  most frequent reply right")
    for row in summary["calibration"]:
        print(f"{row['agreement']:9.2f} {row['n']:10,} {row['mean_right']:14.3f} {row['majority_right']:26.3f}")
    for kind, some in examples.items():
        for e in some:
            print(
                f"{kind}: {e['question'][:SHOWN]!r} ({e['answer'][0][:SHOWN]}):"
                f" {' '.join(e['sample'].split())[:SHOWN]!r}, agreement {e['agreement']:.2f}"
            )


@command
def main(argv: list[str] | None = None) -> None:
    started = time.monotonic()
    (args,) = parse((RefusalsArguments,), argv)
    check(args)
    phrasings = read_phrasings(args.phrasings)
    out = output_folder(args.output_dir)

    # ---- What is asked, or written about ----
    left_out = collections.Counter()
    inputs, count, digest = out / ("questions.jsonl" if args.questions else "passages.jsonl"), 0, hashlib.sha256()
    with whole(inputs) as file:
        for row in itertools.islice(read_inputs(args, left_out), args.limit):
            count += 1
            line = dump(row)
            file.write(line)
            digest.update(line)
        if not count:
            why = reasons(left_out, "expected at least one")
            raise UserError(f"{', '.join(map(str, args.questions or args.documents))}: no row in it, {why}")
        print_left_out(", ".join(map(str, args.questions or args.documents)), count + left_out.total(), left_out)
        settings = Settings(out, args, digest.hexdigest())
        finishing = {
            "thresholds": [args.knows_at, args.unknown_at],
            "known_per_unknown": args.known_per_unknown,
            "phrasings": phrasings,
        }
        try:
            before = dict(json.loads((out / "summary.json").read_text()))
        except (OSError, ValueError, TypeError):
            before = {}
        if (before.get("settings"), before.get("train")) == (settings.settings, finishing) and (
            out / "train.jsonl"
        ).exists():
            print(f"{out} is finished, with these settings")
            return
        for stale in ("train.jsonl", "summary.json"):
            (out / stale).unlink(missing_ok=True)
        probes, written = out / "probes.jsonl", out / "written.jsonl"
        work, first, start = None, *((written, start_writing) if args.documents else (probes, start_probing))
        if whole_chunks(first, args.chunk, count, "question") < count:
            work = start(args, settings)  # a model that is not there leaves nothing behind

    # ---- Ask ----
    outcome = None
    if args.documents:
        by_chunks(written, inputs, count, "question", args.chunk, args.seed, lambda: work)
        outcome = keep_questions(written, out / "questions.jsonl")
        count, work = outcome["kept"], None  # the writer makes room for the model
    by_chunks(
        probes,
        out / "questions.jsonl",
        count,
        "question",
        args.chunk,
        args.seed,
        lambda: work or start_probing(args, settings),
    )
    if not settings.thresholds:
        new_verdicts(probes, args)
        settings.thresholds = [args.knows_at, args.unknown_at]
        settings.write()

    # ---- What it shows, and the training rows ----
    found = survey(stream(probes), guessed_subjects(stream(probes), args.knows_at))
    examples, places = found.pop("examples"), found.pop("places")
    summary = {"questions": count, **found}
    show(summary, examples)
    knows, unknown = found["verdicts"][KNOWS], found["verdicts"][UNKNOWN]
    if not all(places.values()):
        cure = (
            "its right replies were all cut, raise max_new_tokens"
            if knows and unknown
            else "add questions of the kind that is missing, or move the thresholds"
        )
        raise UserError(
            f"no training rows: of {count:,} questions {args.model} knows {knows:,} (knows_at {args.knows_at}) and"
            f" does not know {unknown:,} (unknown_at {args.unknown_at}), and both kinds are needed: {cure} ({probes}"
            " holds the replies)"
        )
    refusals, answers = draw(places, args.known_per_unknown, args.seed)
    with whole(out / "train.jsonl") as file:
        for row in train_rows(stream(probes), refusals, answers, phrasings, args.seed):
            file.write(dump(row))
    summary |= {"rows": {"refusal": len(refusals), "known": len(answers)}}
    if outcome:
        summary["written"] = dict(outcome)
    if left_out:
        summary["left_out"] = dict(left_out)
    summary |= {
        "settings": settings.settings,
        "train": finishing,
        "provenance": settings.provenance,
        "seconds": round(time.monotonic() - started, 1),
    }
    write_json(out / "summary.json", summary, ensure_ascii=False)
    print(f"{out / 'train.jsonl'}: {len(refusals):,} refusals, {len(answers):,} known")


if __name__ == "__main__":
    main()
