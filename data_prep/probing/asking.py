"""The probes: each question is asked several times, and each reply judged."""

from collections.abc import Callable
from pathlib import Path

from data_prep.probing.arguments import RefusalsArguments
from data_prep.probing.models import start_model
from data_prep.probing.settings import Settings
from data_prep.probing.verdicts import judgements, refuses, verdict, verified
from data_prep.shared.agreement import same_answer
from data_prep.shared.chunks import dump, stream
from data_prep.shared.sentences import first_sentence
from eval.cli import whole
from eval.generation.replies import Replier, Reply
from eval.verifiers import reply


def asked_as(question: str, system: str | None) -> list[dict]:
    """The conversation that asks it, after the system message if there is one."""
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": question}]


def opening(given: Reply) -> Reply:
    """The first sentence of a reply, which is whole wherever the reply was cut; one without an end stays as it is."""
    sentence = first_sentence(given.text)
    return given if sentence is None else Reply(sentence, True)


def openings(replies: list[Reply]) -> list[Reply]:
    return [opening(given) for given in replies]


def start_probing(args: RefusalsArguments, settings: Settings) -> Callable[[list[dict], int], list[dict]]:
    """Load the model, and the judge where there is one; returns `work(rows, seed)`, which makes a probe of each
    question."""
    model = start_model(args, "model")
    judge = start_model(args, "judge") if args.judge_model else None
    settings.write(model=model.provenance, **({"judge": judge.provenance} if judge else {}))

    def work(rows: list[dict], seed: int) -> list[dict]:
        replies = model([asked_as(row["question"], args.system) for row in rows], samples=args.samples, seed=seed)
        if args.one_sentence:
            replies = [openings(samples) for samples in replies]
        right = marks(rows, replies, judge, args)
        probes = []
        for place, (row, samples) in enumerate(zip(rows, replies)):
            probes.append(probe(row, samples, [right[place, given.text] for given in samples], args))
        return probes

    return work


def marks(
    rows: list[dict], replies: list[list[Reply]], judge: Replier | None, args: RefusalsArguments
) -> dict[tuple[int, str], bool | None]:
    """Whether each reply is right, by its row's place and its text; None where that could not be judged.

    What refuses or says nothing is wrong. The rest is judged, by the judge once for each text.
    """
    right: dict[tuple[int, str], bool | None] = {}
    for place, samples in enumerate(replies):
        for given in samples:
            right[place, given.text] = False
    to_judge = [(place, text) for place, text in right if reply(text) and not refuses(text)]
    asked = [(rows[place], text) for place, text in to_judge]
    judged = judgements(judge, asked) if judge else [verified(row, text, args) for row, text in asked]
    return right | dict(zip(to_judge, judged))


def probe(row: dict, replies: list[Reply], right: list[bool | None], args: RefusalsArguments) -> dict:
    """A question with the replies to it and the verdict."""
    samples = [given.text for given in replies]
    return {
        **row,
        "samples": samples,
        "finished": [given.finished for given in replies],
        "right": right,
        "agreement": len(same_answer(row, samples)[0]) / len(samples),
        "verdict": verdict(right, args.knows_at, args.unknown_at),
    }


def new_verdicts(probes: Path, args: RefusalsArguments) -> None:
    """The verdicts by other thresholds than those before; nothing is asked again."""
    with whole(probes) as file:
        for row in stream(probes):
            file.write(dump(row | {"verdict": verdict(row["right"], args.knows_at, args.unknown_at)}))
