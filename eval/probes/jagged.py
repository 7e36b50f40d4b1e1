"""Where a model fails at what looks alike: a map of "which number is larger" by the digits behind the point.

    python -m eval.probes.jagged --models honest=runs/tiny/honest grpo=runs/tiny/grpo --output jagged.json
    python -m eval.probes.jagged --models base=runs/tiny/base --base base --output jagged.json

Rows are the digits of the larger number, columns those of the smaller; once with the same whole part (9.9 and 9.11:
only the digits decide) and once with another. People are as good in each cell; a model is not (the lecture's "Swiss
cheese"). A base model goes on from "Answer: The answer is", so that it says which. Numbers are drawn anew; where there
are few digits some of the pairs may have stood in training.
"""

import random
from dataclasses import dataclass, field

from eval.cli import UserError, command, named_folders, output_file, parse, write_json
from eval.estimates import accuracy
from eval.verifiers import final_number

SAYS = "The answer is"

MOST_DIGITS = 9


@dataclass
class JaggedArguments:
    models: list[str] = field(metadata={"help": "name=folder (or Hub id) of each model"})
    output: str = field(metadata={"help": ".json file to write"})
    base: list[str] = field(
        default_factory=list, metadata={"help": "names of the models that complete text, not chat"}
    )
    digits: int = field(default=4, metadata={"help": f"behind the point, at most ({MOST_DIGITS} can be asked for)"})
    each: int = field(default=25, metadata={"help": "pairs in a cell"})
    question: str = field(default="Which number is larger, {a} or {b}?", metadata={"help": "with {a} and {b}"})
    max_new_tokens: int = field(default=48, metadata={"help": "of a reply"})
    batch_size: int = field(default=256, metadata={"help": "replies at a time"})
    seed: int = field(default=0, metadata={"help": "of the numbers"})


def pair(rng: random.Random, larger: int, smaller: int, same_whole: bool) -> tuple[str, str]:
    """Two numbers, the larger and the smaller one, with so many digits behind the point, the last of them not 0."""

    def number(digits: int) -> tuple[int, str]:
        return rng.randint(1, 9), "".join(rng.choice("0123456789") for _ in range(digits - 1)) + rng.choice(
            "123456789"
        )

    while True:
        (whole, fraction), (other, rest) = number(larger), number(smaller)
        if same_whole:
            other = whole
        if (other == whole) == same_whole and (whole, float(f"0.{fraction}")) > (other, float(f"0.{rest}")):
            return f"{whole}.{fraction}", f"{other}.{rest}"


def replies(model, tokenizer, questions: list[str], base: bool, args, progress) -> list[str]:
    """The greedy reply to each question; a base model completes an answer that has begun with `SAYS`."""
    from eval.generation.generate import generate

    if base:
        prompts = [f"Question: {question}\nAnswer: {SAYS}" for question in questions]
    else:
        prompts = [[{"role": "user", "content": question}] for question in questions]
    done = generate(
        model,
        tokenizer,
        prompts,
        max_new_tokens=args.max_new_tokens,
        temperature=0,
        batch_size=args.batch_size,
        stop_strings=["\n"] if base else None,
        progress=progress,
    )
    return [reply.text for (reply,) in done]


def by_cell(cells: list[tuple], right: list, questions: list[str], texts: list[str]) -> dict[str, dict]:
    """The share that is right in each cell of both maps, with the first mistake.

    Args:
        cells: (whether the whole part is the same, digits of one number, digits of the other) of each question.
    """
    places: dict[tuple, list[int]] = {}
    for place, cell in enumerate(cells):
        places.setdefault(cell, []).append(place)
    parts = {"same_whole": {}, "other_whole": {}}
    for (same, i, j), at in places.items():
        measured = accuracy([right[place] for place in at])
        wrong = next((place for place in at if not right[place]), None)
        if wrong is not None:
            measured["wrong"] = {"question": questions[wrong], "text": texts[wrong]}
        parts["same_whole" if same else "other_whole"][f"{i},{j}"] = measured
    return parts


def shown(cells: dict[str, dict]) -> str:
    """Mean and least of each map, for the terminal."""
    parts = []
    for key, part in cells.items():
        values = [m["value"] for m in part.values()]
        parts.append(f"{key} {sum(values) / len(values):.3f}, least {min(values):.2f}")
    return ", ".join(parts)


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((JaggedArguments,), argv)
    models = named_folders(args.models, args.base)
    if not 1 <= args.digits <= MOST_DIGITS or min(args.each, args.max_new_tokens, args.batch_size) < 1:
        raise UserError(f"digits must be from 1 to {MOST_DIGITS}, each, max_new_tokens and batch_size at least 1")
    if "{a}" not in args.question or "{b}" not in args.question:
        raise UserError(
            f"the question must have {{a}} and {{b}} in it, where the numbers go, but is {args.question!r}"
        )
    rng, sizes = random.Random(args.seed), range(1, args.digits + 1)
    cells = [(same, i, j) for same in (True, False) for i in sizes for j in sizes for _ in range(args.each)]
    pairs = [pair(rng, i, j, same) for same, i, j in cells]
    orders = [rng.sample(numbers, 2) for numbers in pairs]
    questions = [args.question.replace("{a}", a).replace("{b}", b) for a, b in orders]
    output_file(args.output, list(models.values()))
    from tqdm import tqdm

    from eval.generation.models import load_models, require_chat_template

    loaded, results = load_models(models), {}
    for name, (_, tokenizer) in loaded.items():
        if name not in args.base:
            require_chat_template(tokenizer, models[name])
    with tqdm(total=len(models) * len(questions), unit="reply", mininterval=1) as bar:
        for name, (model, tokenizer) in loaded.items():
            base = name in args.base
            texts = replies(model, tokenizer, questions, base, args, bar.update)
            whole = [f"{SAYS}{text}" if base else text for text in texts]
            right = [final_number(text, answer) for text, (answer, _) in zip(whole, pairs)]
            results[name] = by_cell(cells, right, questions, texts)
            bar.write(f"{name}: {shown(results[name])}")
    settings = {"digits": args.digits, "each": args.each, "question": args.question, "seed": args.seed}
    write_json(args.output, {**settings, "models": results}, ensure_ascii=False)


if __name__ == "__main__":
    main()
