"""How far a pretrained model's hidden states tell what it knows from what it does not: what honesty training has to
draw on.

    python -m data_prep.facts.edge --model runs/smol/hub --probes runs/smol/refusals/probes.jsonl \
        --invented runs/smol/facts/invented.jsonl --exam_dir runs/smol/facts/exam --output edge.json

The model reads each question up to the place where its answer begins. There, behind each layer, a logistic regression
(a linear probe: Alain and Bengio 2016) is fitted to the questions for training: known by probing, against not known
and invented. It is judged on those of the exam, whose subjects and wordings are others: by the area under the ROC
curve (AUC) of known against unknown, and by how much it would refuse of what is unknown and of what is invented where
it may refuse `cost` of what is known. Training may change the states; this says what is in them before.
"""

from dataclasses import dataclass, field
from pathlib import Path

from data_prep.probing.asking import asked_as
from data_prep.probing.verdicts import KNOWS, UNKNOWN
from eval.cli import UserError, command, output_file, parse, read_jsonl, write_json
from eval.estimates import accuracy

EXAM = ("known", "unknown", "invented")
CURE = "data_prep.facts.questions, data_prep.refusals and data_prep.facts.exam write them"


@dataclass
class EdgeArguments:
    model: str = field(metadata={"help": "folder or Hub id of the model, as it is published"})
    probes: str = field(metadata={"help": "probes.jsonl of data_prep.refusals: questions for training"})
    invented: str = field(metadata={"help": "`messages` about invented things, for training"})
    exam_dir: str = field(metadata={"help": "folder of known.jsonl, unknown.jsonl and invented.jsonl"})
    output: str = field(metadata={"help": ".json file to write"})
    system: str | None = field(default=None, metadata={"help": "system message before each question"})
    cost: float = field(default=0.1, metadata={"help": "share of what is known that may be refused"})
    batch_size: int = field(default=32, metadata={"help": "questions at a time"})
    seed: int = field(default=0, metadata={"help": "of the bootstrap"})


def read_questions(args: EdgeArguments) -> dict[str, list[str]]:
    """The questions by what they are for: `known` and `others` to fit, and `exam known`, ….

    Raises:
        UserError: a file that cannot be read, or one kind is missing.
    """
    probes = read_jsonl(args.probes, ("question", "verdict"), CURE)
    invented = read_jsonl(args.invented, ("messages",), CURE)
    others = [row["question"] for row in probes if row["verdict"] == UNKNOWN]
    questions = {
        "known": [row["question"] for row in probes if row["verdict"] == KNOWS],
        "others": [*others, *(row["messages"][0]["content"] for row in invented)],
    }
    for name in EXAM:
        rows = read_jsonl(Path(args.exam_dir) / f"{name}.jsonl", ("question",), CURE)
        questions[f"exam {name}"] = [row["question"] for row in rows]
    for name, texts in questions.items():
        if len(texts) < 2:
            raise UserError(
                f"there are {len(texts)} questions of the kind {name!r}, but at least 2 are needed: {CURE}"
            )
    return questions


def judged(states: dict, args: EdgeArguments) -> dict:
    """A layer's `auc`, and what would be refused of the exam's `known`, `unknown` and `invented`.

    Args:
        states: kind of question -> questions × width.
    """
    import numpy as np

    from eval.probes.known import auc, linear_probe

    fitted = linear_probe(0.003)
    labels = np.repeat([1, 0], [len(states["known"]), len(states["others"])])
    fitted.fit(np.concatenate([states["known"], states["others"]]), labels)
    scores = {name: fitted.decision_function(states[f"exam {name}"]) for name in EXAM}
    threshold = np.quantile(scores["known"], args.cost)
    both = np.concatenate([scores["known"], scores["unknown"]])
    known = np.repeat([1, 0], [len(scores["known"]), len(scores["unknown"])])
    area = auc(both, known, np.arange(len(both)), np.zeros(len(both), int), 1000, args.seed)
    refused = {name: accuracy([float(score < threshold) for score in scores[name]]) for name in EXAM}
    return {"auc": area, "refused": refused}


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((EdgeArguments,), argv)
    if not 0 < args.cost < 1 or args.batch_size < 1:
        raise UserError(f"cost must be between 0 and 1, and batch_size at least 1: {args.cost}, {args.batch_size}")
    questions = read_questions(args)
    output = output_file(args.output, [args.model, args.probes, args.invented, args.exam_dir])
    import torch

    from eval.generation.generate import encode
    from eval.generation.models import load_models
    from eval.probes.known import states
    from eval.probes.lens import Lens

    ((model, tokenizer),) = load_models({"model": args.model}).values()
    lens = Lens(model, tokenizer)
    read: dict[str, list] = {}
    for name, texts in questions.items():
        rows = encode(tokenizer, [asked_as(text, args.system) for text in texts])
        with torch.inference_mode():
            read[name] = [layer.numpy() for layer in states(lens, rows, args.batch_size)[0]]
        print(f"{name}: {len(texts)} questions read", flush=True)
    depth = len(read["known"])
    # behind the embedding every question ends with the same token: nothing to tell apart
    layers = [
        {"layer": number} | judged({name: layers[number] for name, layers in read.items()}, args)
        for number in range(1, depth)
    ]
    write_json(output, {"model": args.model, "cost": args.cost, "layers": layers})
    best = max(layers, key=lambda row: row["auc"]["value"])
    refused = {name: round(measure["value"], 3) for name, measure in best["refused"].items()}
    print(
        f"{output}: layer {best['layer']} of {depth - 1} tells best: AUC {best['auc']['value']:.3f}, refused {refused}"
    )


if __name__ == "__main__":
    main()
