"""Guess and check: how often one of n tries is right, and how often most of n tries are, for n = 1, 2, 4 … `samples`.

    python -m eval.guess_check --models honest=runs/tiny/honest grpo=runs/tiny/grpo --problems problems/test.jsonl \
        --output guess_check.json

RL that finds new solutions raises the best of many tries; RL that makes known ones likelier raises the first try and
leaves the best of many (Yue et al. 2025, "Does Reinforcement Learning Really Incentivize Reasoning Capacity in LLMs
Beyond the Base Model?"). Rows have `prompt` (messages) and `answer`, a number. The best of n is the unbiased estimator
of Chen et al. 2021 (HumanEval, section 2.1); the majority of n is a vote on the number that replies end on, ties drawn
by lot, over `DRAWS` random choices of n of the samples (Wang et al. 2023, self-consistency). Both with standard errors
over problems.

Also how often a reply checks itself: verification or backtracking in words (`CHECKS`; Gandhi et al. 2025, "Cognitive
Behaviors that Enable Self-Improving Reasoners"), with examples.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass, field

from eval.cli import UserError, command, named_folders, output_file, parse, read_jsonl, write_json
from eval.estimates import accuracy, pass_at_k
from eval.shared.messages import check_prompt
from eval.verifiers import final_answer, final_number

DRAWS = 32
CHECKS = re.compile(
    r"\b(?:wait|hmm|actually|alternatively|on second thought|let (?:me|us) (?:double[-"
    r" ]?check|re-?check|check|verify|try again)|let's (?:double[- ]?check|check|verify)"
    r"|to (?:check|verify)|double[- ]check|check(?=:)|another way|(?:that|this) is (?:wrong|not right)|i made a"
    r" mistake)\b",
    re.IGNORECASE,
)


@dataclass
class GuessCheckArguments:
    models: list[str] = field(metadata={"help": "name=folder (or Hub id) of each chat model"})
    problems: str = field(metadata={"help": ".jsonl file of `prompt` and `answer`"})
    output: str = field(metadata={"help": ".json file to write"})
    samples: int = field(default=64, metadata={"help": "tries a problem"})
    temperature: float = field(default=1.0, metadata={"help": "of sampling"})
    max_new_tokens: int = field(default=72, metadata={"help": "of a try"})
    limit: int | None = field(default=None, metadata={"help": "only the first problems"})
    seed: int = field(default=0, metadata={"help": "of sampling and of the draws"})


def majority_of(n: int, votes: list[str | None], answer: str, rng: random.Random) -> float:
    """How often the vote of n of the tries is right; a try without a number has no vote."""
    hits = 0.0
    for _ in range(1 if n == len(votes) else DRAWS):
        counts = Counter(vote for vote in rng.sample(votes, n) if vote is not None)
        top = [vote for vote, count in counts.items() if count == max(counts.values())]
        hits += sum(final_number(f"The answer is {vote}.", answer) for vote in top) / max(1, len(top))
    return hits / (1 if n == len(votes) else DRAWS)


def measure(rows: list[dict], replies: list[list[str]], seed: int) -> dict:
    """The figures of one model; `replies`: the tries at each row."""
    tries = len(replies[0])
    sizes = [2**i for i in range(tries.bit_length()) if 2**i <= tries]
    rng = random.Random(seed)
    right, votes, checking, shown = [], [], [], []
    for row, texts in zip(rows, replies):
        right.append(sum(final_number(text, row["answer"]) for text in texts))
        votes.append([final_answer(text) for text in texts])
        checks = [text for text in texts if CHECKS.search(text)]
        checking.append(len(checks) / tries)
        shown += [{"question": row["prompt"][-1]["content"], "text": text} for text in checks]
    best_of, majority = {}, {}
    for n in sizes:
        best_of[n] = accuracy([pass_at_k(tries, int(count), n) for count in right])
    for n in sizes:
        majority[n] = accuracy([majority_of(n, v, row["answer"], rng) for v, row in zip(votes, rows)])
    return {
        "best_of": best_of,
        "majority_of": majority,
        "checks_itself": accuracy(checking) | {"examples": shown[:3]},
    }


def _texts(group: list) -> list[str]:
    return [generation.text for generation in group]


def _line(measured: dict, samples: int) -> str:
    """The figures of a model in a line."""
    best = ", ".join(f"{n}: {m['value']:.3f}" for n, m in measured["best_of"].items())
    most = max(measured["majority_of"])
    return f"best of {best}; majority of {samples} {measured['majority_of'][most]['value']:.3f}"


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((GuessCheckArguments,), argv)
    models = named_folders(args.models)
    if (
        args.samples < 2
        or args.max_new_tokens < 1
        or not args.temperature > 0
        or (args.limit is not None and args.limit < 2)
    ):
        raise UserError("samples and limit must be at least 2, max_new_tokens at least 1 and temperature above 0")
    rows = read_jsonl(args.problems, ("prompt", "answer"), "python -m data_prep.problems writes such rows")[
        : args.limit
    ]
    for number, row in enumerate(rows, 1):
        check_prompt(row, f"{args.problems}, line {number}")
    not_numbers = [row["answer"] for row in rows if final_number("", row["answer"]) is None]
    if not_numbers:
        raise UserError(f"{args.problems}: answer must be a number, but is {not_numbers[0]!r}")
    output_file(args.output, [*models.values(), args.problems])
    from tqdm import tqdm

    from eval.generation.generate import generate
    from eval.generation.models import load_models, require_chat_template

    loaded = load_models(models)
    for name, (_, tokenizer) in loaded.items():
        require_chat_template(tokenizer, models[name])
    results = {}
    with tqdm(total=len(models) * len(rows) * args.samples, unit="reply", mininterval=1) as bar:
        for name, (model, tokenizer) in loaded.items():
            done = generate(
                model,
                tokenizer,
                [row["prompt"] for row in rows],
                max_new_tokens=args.max_new_tokens,
                temperature=args.temperature,
                num_return_sequences=args.samples,
                seed=args.seed,
                progress=bar.update,
            )
            results[name] = measure(rows, [_texts(group) for group in done], args.seed)
            bar.write(f"{name}: {_line(results[name], args.samples)}")
    write_json(
        args.output,
        {
            "problems": args.problems,
            "samples": args.samples,
            "temperature": args.temperature,
            "seed": args.seed,
            "models": results,
        },
    )


if __name__ == "__main__":
    main()
