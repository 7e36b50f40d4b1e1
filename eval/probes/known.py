"""Does a model know that it does not know? A linear probe on its hidden states, and "I don't know" layer by layer.

    python -m eval.probes.known --models base=runs/tiny/base sft=runs/tiny/sft honest=runs/tiny/honest --base base \
        --known runs/tiny/world/eval/facts_known.jsonl --unknown runs/tiny/world/eval/facts_unseen.jsonl \
        runs/tiny/world/eval/facts_absent.jsonl --subjects runs/tiny/world/facts.jsonl --output known.json

Each model reads questions about people whom it knows and about people of whom it never read, up to the place where its
answer begins. There, behind each layer, a logistic regression tells the two kinds apart (a linear probe: Alain and
Bengio 2016; of knowing: Kadavath et al. 2022), and so does the one coordinate ("neuron") that does it best. People are
held out: whoever is judged was in no training fold, and the coordinate is chosen there, too. The area under the ROC
curve (AUC) is 0.5 by chance and 1 where all are told apart; its 95 % interval is a bootstrap over people. `words` is a
logistic regression on which tokens a question holds, the control. Where known and unknown people share their first and
last names evenly, as in the tiny world, it falls below 0.5: without the person held out, the name stands more often on
the other side. So does a probe that learns names.

The lens (`eval.probes.lens`) says behind each layer how likely the first token of a refusal is there, by kind.
"""

from dataclasses import dataclass, field
from typing import Any

from eval.cli import UserError, command, named_folders, output_file, parse, read_jsonl, write_json
from eval.estimates import accuracy

FIRST_WORDS = ["I don't know.", "Sorry, I don't know.", "That is not known to me."]
CURE = "give JSON lines with `question`, such as those of runs/tiny/world/eval"


@dataclass
class KnownArguments:
    models: list[str] = field(metadata={"help": "name=folder (or Hub id) of each model"})
    known: list[str] = field(metadata={"help": "JSON lines whose `question` asks about what the model knows"})
    unknown: list[str] = field(metadata={"help": "the same about what it never read"})
    subjects: str = field(metadata={"help": "JSON lines with `person`: the names, by which questions are held out"})
    output: str = field(metadata={"help": ".json file to write"})
    base: list[str] = field(
        default_factory=list, metadata={"help": "names of the models that complete text, not chat"}
    )
    refusals: list[str] = field(
        default_factory=lambda: list(FIRST_WORDS), metadata={"help": "how refusals begin; their first tokens count"}
    )
    folds: int = field(default=5, metadata={"help": "into which people are split"})
    resamples: int = field(default=1000, metadata={"help": "of the bootstrap"})
    batch_size: int = field(default=64, metadata={"help": "questions at a time"})
    seed: int = field(default=0, metadata={"help": "of folds and bootstrap"})


@dataclass
class Question:
    text: str
    person: str
    known: bool


def read_questions(args: KnownArguments) -> tuple[list[Question], int]:
    """The questions with their person, and the number of those left out because they name nobody.

    Raises:
        UserError: a file that cannot be read, too few people, or a person of both kinds.
    """
    people = {str(row["person"]) for row in read_jsonl(args.subjects, ("person",), "give JSON lines with `person`")}
    names, questions, left_out = sorted(people, key=len, reverse=True), [], 0
    for known, paths in ((True, args.known), (False, args.unknown)):
        for path in paths:
            for row in read_jsonl(path, ("question",), CURE):
                text = str(row["question"])
                person = next((name for name in names if name in text), None)
                if person is None:
                    left_out += 1
                else:
                    questions.append(Question(text, person, known))
    known_people = {q.person for q in questions if q.known}
    unknown_people = {q.person for q in questions if not q.known}
    if min(len(known_people), len(unknown_people)) < args.folds:
        raise UserError(
            f"there are {len(known_people)} people known and {len(unknown_people)} unknown, but {args.folds} folds"
            " need as many of each: give more questions or fewer --folds"
        )
    both = sorted(known_people & unknown_people)
    if both:
        raise UserError(f"{both[0]} is asked about in --known and in --unknown: a person must be one of them")
    return questions, left_out


def states(lens, rows: list[list[int]], batch_size: int) -> tuple[list, Any]:
    """(behind the embedding and each layer the hidden state at the last token of each row, questions × width; the
    logits there, questions × vocabulary)."""
    import torch

    layers, logits = [], []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        longest = max(map(len, batch))
        # padded on the right, which a causal model does not see
        given = torch.tensor([row + [row[-1]] * (longest - len(row)) for row in batch], device=lens.model.device)
        out = lens.model(input_ids=given, use_cache=False, output_hidden_states=True)
        last = torch.tensor([len(row) - 1 for row in batch], device=given.device)
        here = torch.arange(len(batch), device=given.device)
        layers.append([state[here, last].float().cpu() for state in out.hidden_states])
        logits.append(out.logits[here, last, : lens.vocabulary].float().cpu())
    return [torch.cat(parts) for parts in zip(*layers)], torch.cat(logits)


def linear_probe(strength: float):
    """A logistic regression on features of one scale, not fitted yet; `strength`: the inverse of regularisation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))


def held_out(features, known, people, folds: int, seed: int, choose=None) -> tuple:
    """(the score of each question by a classifier that was fitted to other people, its fold).

    Args:
        features: questions × width.
        choose: (features, known) of the training people -> the columns to use; None: all.
    """
    import numpy as np
    from sklearn.model_selection import StratifiedGroupKFold

    scores, fold = np.zeros(len(known)), np.zeros(len(known), int)
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for number, (train, test) in enumerate(split.split(features, known, people)):
        columns = slice(None) if choose is None else choose(features[train], known[train])
        fitted = linear_probe(0.1)
        fitted.fit(features[train][:, columns], known[train])
        scores[test] = fitted.decision_function(features[test][:, columns])
        fold[test] = number
    return scores, fold


def best_column(features, known) -> list[int]:
    """The coordinate that alone tells the two kinds apart best, by its AUC either way."""
    import numpy as np
    from scipy.stats import rankdata

    positive = int(known.sum())
    ranks = rankdata(features, axis=0)[known.astype(bool)].sum(0)
    area = (ranks - positive * (positive + 1) / 2) / (positive * (len(known) - positive))
    return [int(np.abs(area - 0.5).argmax())]


def wins(scores, known, people, folds):
    """People known × people unknown: in how many pairs of their questions the known one's score is higher (a tie is
    half a win), and how many pairs there are. Only pairs of one fold count: scores of two classifiers have no common
    scale."""
    import numpy as np

    _, person = np.unique(people, return_inverse=True)
    members = np.eye(person.max() + 1)[person]
    ours, others = known == 1, known == 0
    gaps = scores[ours][:, None] - scores[others][None]
    together = folds[ours][:, None] == folds[others][None]
    better = ((gaps > 0) + 0.5 * (gaps == 0)) * together
    won = members[ours].T @ better @ members[others]
    pairs = members[ours].T @ together @ members[others]
    some = members[ours].sum(0) > 0
    return won[some][:, ~some], pairs[some][:, ~some]


def auc(scores, known, people, folds, resamples: int, seed: int) -> dict:
    """{"value", "low", "high", "n", "people"}: the AUC (the share of a fold's pairs that are ordered right) and its
    95 % interval over people of both kinds, who are drawn with replacement; `folds`: that of each question."""
    import numpy as np

    won, pairs = wins(scores, known, people, folds)
    rng = np.random.default_rng(seed)
    ours, others = (rng.multinomial(n, [1 / n] * n, size=resamples) for n in won.shape)
    right, all_pairs = (((ours @ counts) * others).sum(1) for counts in (won, pairs))
    some = all_pairs > 0  # few people may be drawn so that no fold holds both kinds
    low, high = np.quantile(right[some] / all_pairs[some], [0.025, 0.975])
    value = won.sum() / pairs.sum()
    return {
        "value": float(value),
        "low": float(low),
        "high": float(high),
        "n": len(known),
        "people": sum(won.shape),
    }


def bag(rows: list[list[int]]):
    """Which tokens each row holds: questions × different tokens, 0 or 1."""
    import numpy as np

    tokens = sorted(set().union(*rows))
    column = {token: place for place, token in enumerate(tokens)}
    held = np.zeros((len(rows), len(column)))
    for number, row in enumerate(rows):
        held[number, [column[token] for token in row]] = 1
    return held


def refusal_chance(lens, state, tokens: list[int]):
    """How likely one of the tokens is next by the lens, for each state."""
    return lens.says(state.to(lens.model.device, lens.head.weight.dtype)).softmax(-1)[:, tokens].sum(-1).cpu()


def measure(lens, rows: list[list[int]], questions: list[Question], args: KnownArguments) -> dict:
    """Of a model: `words`, and for each layer the AUC of the probe and of one coordinate, and how likely a refusal
    is."""
    import numpy as np
    import torch

    from eval.generation.encoding import encode_plain

    known = np.array([int(q.known) for q in questions])
    people = [q.person for q in questions]
    tokens = sorted({encode_plain(lens.tokenizer, text)[0] for text in args.refusals})

    def judged(features, choose=None) -> dict:
        scores, fold = held_out(features, known, people, args.folds, args.seed, choose)
        return auc(scores, known, people, fold, args.resamples, args.seed)

    with torch.inference_mode():
        hidden, logits = states(lens, rows, args.batch_size)
        layers = []
        for number, state in enumerate(hidden):
            features = state.numpy()
            last = number == len(hidden) - 1
            chance = logits.softmax(-1)[:, tokens].sum(-1) if last else refusal_chance(lens, state, tokens)
            kinds = {"known": known == 1, "unknown": known == 0}
            layers.append(
                {
                    "layer": number,
                    "probe": judged(features),
                    "neuron": judged(features, best_column),
                    "refusal": {kind: accuracy(chance[torch.from_numpy(at)].tolist()) for kind, at in kinds.items()},
                }
            )
    return {"words": judged(bag(rows)), "layers": layers}


def example(lens, ids: list[int]) -> list[dict]:
    """What each layer would say at the end of one prompt: `layer`, `text` of its first choice, `p`."""
    shown = lens.look(ids)
    return [
        {"layer": row["layer"], "text": shown["words"][row["ids"][-1][0]]["text"], "p": row["p"][-1][0]}
        for row in shown["lens"]
    ]


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((KnownArguments,), argv)
    models = named_folders(args.models, args.base)
    if args.folds < 2 or min(args.resamples, args.batch_size) < 1:
        raise UserError("folds must be at least 2, resamples and batch_size at least 1")
    if not args.refusals or not all(text.strip() for text in args.refusals):
        raise UserError('refusals names no text: say how refusals begin, such as "I don\'t know."')
    questions, left_out = read_questions(args)
    output_file(args.output, [*models.values(), *args.known, *args.unknown, args.subjects])
    from eval.generation.generate import encode
    from eval.generation.models import load_models, require_chat_template
    from eval.probes.lens import Lens

    loaded = load_models(models)
    for name, (_, tokenizer) in loaded.items():
        if name not in args.base:
            require_chat_template(tokenizer, models[name])
    shown = next(place for place, q in enumerate(questions) if not q.known)
    results, examples = {}, {}
    for name, (model, tokenizer) in loaded.items():
        asked = [q.text if name in args.base else [{"role": "user", "content": q.text}] for q in questions]
        rows, lens = encode(tokenizer, asked), Lens(model, tokenizer)
        results[name] = measure(lens, rows, questions, args)
        examples[name] = example(lens, rows[shown])
        best = max(results[name]["layers"], key=lambda layer: layer["probe"]["value"])
        area = best["probe"]
        print(
            f"{name}: AUC {area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f}) behind layer {best['layer']};"
            f" one neuron {best['neuron']['value']:.3f}; words alone {results[name]['words']['value']:.3f}",
            flush=True,
        )
    write_json(
        args.output,
        {
            "models": results,
            "left_out": left_out,
            "folds": args.folds,
            "seed": args.seed,
            "refusals": args.refusals,
            "example": {"question": questions[shown].text, "models": examples},
        },
        ensure_ascii=False,
    )


if __name__ == "__main__":
    main()
