"""The arguments of `data_prep.refusals`, and what they must be."""

import inspect
import math
from dataclasses import dataclass, field
from typing import ClassVar

from eval.cli import UserError
from eval.verifiers import VERIFIERS

JUDGES = [name for name, f in VERIFIERS.items() if "answer" in inspect.signature(f).parameters]
F1_AT = 0.6  # "Paris or Rome" has 0.5


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
    """Raises `UserError` for values that are out of range, or that do nothing together."""
    if bool(args.questions) == bool(args.documents):
        raise UserError(
            "give either questions (rows of question and answer) or documents (rows of text, about which questions are"
            " written)"
        )
    check_numbers(args)
    check_judge(args)
    if args.writer and not args.documents or args.writer_name and not args.writer:
        raise UserError("writer goes with documents, and writer_name with a writer behind an endpoint")
    for key, owner in (
        ("judge_max_new_tokens", "judge_model"),
        ("writer_max_new_tokens", "documents"),
        ("passage_characters", "documents"),
    ):
        if getattr(args, key) != getattr(RefusalsArguments, key) and not getattr(args, owner):
            raise UserError(f"{key} goes with {owner}, and does nothing without: leave it out")


def check_numbers(args: RefusalsArguments) -> None:
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


def check_judge(args: RefusalsArguments) -> None:
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
