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
import hashlib
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from data_prep.probing.arguments import RefusalsArguments, check
from data_prep.probing.asking import asked_as, new_verdicts, start_probing
from data_prep.probing.inputs import passage_row, question_row, read_inputs
from data_prep.probing.phrasings import PHRASINGS, read_phrasings
from data_prep.probing.settings import Settings
from data_prep.probing.survey import guessed_subjects, show, survey
from data_prep.probing.training_rows import draw, train_rows
from data_prep.probing.verdicts import KNOWS, UNKNOWN, refuses, verdict
from data_prep.probing.writing import keep_questions, start_writing, written_row
from data_prep.schemas import reasons
from data_prep.shared.chunks import by_chunks, dump, stream, whole_chunks
from data_prep.shared.sources import print_left_out
from eval.cli import UserError, command, output_folder, parse, whole, write_json

__all__ = [
    "KNOWS",
    "PHRASINGS",
    "UNKNOWN",
    "RefusalsArguments",
    "asked_as",
    "main",
    "passage_row",
    "question_row",
    "read_inputs",
    "refuses",
    "verdict",
    "written_row",
]


def write_inputs(file: IO[bytes], args: RefusalsArguments, left_out: collections.Counter) -> tuple[int, str]:
    """Store what is asked, or written about. Returns the number of rows and their SHA-256.

    Raises:
        UserError: there is none.
    """
    count, digest = 0, hashlib.sha256()
    for row in itertools.islice(read_inputs(args, left_out), args.limit):
        count += 1
        line = dump(row)
        file.write(line)
        digest.update(line)
    sources = ", ".join(map(str, args.questions or args.documents))
    if not count:
        raise UserError(f"{sources}: no row in it, {reasons(left_out, 'expected at least one')}")
    print_left_out(sources, count + left_out.total(), left_out)
    return count, digest.hexdigest()


def is_finished(out: Path, settings: dict, finishing: dict) -> bool:
    """Whether a run with these settings came to its end in the folder."""
    try:
        before = dict(json.loads((out / "summary.json").read_text()))
    except (OSError, ValueError, TypeError):
        return False
    same = (before.get("settings"), before.get("train")) == (settings, finishing)
    return same and (out / "train.jsonl").exists()


def start_first(args: RefusalsArguments, settings: Settings, out: Path, count: int) -> Callable | None:
    """What is asked first, the writer or the model, loaded; None where all its rows are there."""
    file, start = ("written.jsonl", start_writing) if args.documents else ("probes.jsonl", start_probing)
    if whole_chunks(out / file, args.chunk, count, "question") == count:
        return None
    return start(args, settings)


def write_training_rows(
    probes: Path, places: dict, summary: dict, args: RefusalsArguments, phrasings: list[str]
) -> dict[str, int]:
    """Write `train.jsonl` beside the probes. Returns how many rows of each kind it has.

    Raises:
        UserError: a kind is missing.
    """
    if not all(places.values()):
        knows, unknown = summary["verdicts"][KNOWS], summary["verdicts"][UNKNOWN]
        cure = (
            "its right replies were all cut, raise max_new_tokens"
            if knows and unknown
            else "add questions of the kind that is missing, or move the thresholds"
        )
        raise UserError(
            f"no training rows: of {summary['questions']:,} questions {args.model} knows {knows:,} (knows_at"
            f" {args.knows_at}) and does not know {unknown:,} (unknown_at {args.unknown_at}), and both kinds are"
            f" needed: {cure} ({probes} holds the replies)"
        )
    refusals, answers = draw(places, args.known_per_unknown, args.seed)
    with whole(probes.with_name("train.jsonl")) as file:
        for row in train_rows(stream(probes), refusals, answers, phrasings, args.seed):
            file.write(dump(row))
    return {"refusal": len(refusals), "known": len(answers)}


@command
def main(argv: list[str] | None = None) -> None:
    started = time.monotonic()
    (args,) = parse((RefusalsArguments,), argv)
    check(args)
    phrasings = read_phrasings(args.phrasings)
    out = output_folder(args.output_dir)
    thresholds = [args.knows_at, args.unknown_at]
    finishing = {"thresholds": thresholds, "known_per_unknown": args.known_per_unknown, "phrasings": phrasings}
    inputs = out / ("questions.jsonl" if args.questions else "passages.jsonl")
    written, questions, probes = (out / f"{name}.jsonl" for name in ("written", "questions", "probes"))

    # ---- What is asked, or written about ----
    left_out = collections.Counter()
    with whole(inputs) as file:
        count, digest = write_inputs(file, args, left_out)
        settings = Settings(out, args, digest)
        if is_finished(out, settings.settings, finishing):
            print(f"{out} is finished, with these settings")
            return
        for stale in ("train.jsonl", "summary.json"):
            (out / stale).unlink(missing_ok=True)
        work = start_first(args, settings, out, count)  # a model that is not there leaves nothing behind

    # ---- Ask ----
    dropped = None
    if args.documents:
        by_chunks(written, inputs, count, "question", args.chunk, args.seed, lambda: work)
        dropped = keep_questions(written, questions)
        count, work = dropped["kept"], None  # the writer makes room for the model

    def start() -> Callable:
        return work or start_probing(args, settings)

    by_chunks(probes, questions, count, "question", args.chunk, args.seed, start)
    if not settings.thresholds:
        new_verdicts(probes, args)
        settings.thresholds = thresholds
        settings.write()

    # ---- What it shows, and the training rows ----
    guessed = guessed_subjects(stream(probes), args.knows_at)
    shown, examples, places = survey(stream(probes), guessed)
    summary = {"questions": count, **shown}
    show(summary, examples)
    rows = write_training_rows(probes, places, summary, args, phrasings)
    summary["rows"] = rows
    if dropped:
        summary["written"] = dict(dropped)
    if left_out:
        summary["left_out"] = dict(left_out)
    summary |= {"settings": settings.settings, "train": finishing, "provenance": settings.provenance}
    summary["seconds"] = round(time.monotonic() - started, 1)
    write_json(out / "summary.json", summary, ensure_ascii=False)
    print(f"{out / 'train.jsonl'}: {rows['refusal']:,} refusals, {rows['known']:,} known")


if __name__ == "__main__":
    main()
