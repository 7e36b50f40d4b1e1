"""How often a model checks itself and tries again, and what that is worth, over the steps of a training.

    python -m eval.second_tries --models primed-0=runs/mine/primed primed-60=runs/mine/primed_grpo/checkpoint-60 \
        --problems runs/mine/second_tries/test.jsonl --output runs/mine/second_tries.json

Rows are problems of `data_prep.second_tries`, or any with a `verifier` whose replies hold sums. Of each reply are read

    accuracy      the verdict of the row's verifier
    tokens        its length
    checks        whether its thinking checks a result in words (`eval.guess_check.CHECKS`)
    second_tries  whether its thinking holds two different sums or more, and a word of doubt or of trying again before
                  the last (`AGAIN`)
    success       of the replies with a second try those that are right; of all replies where there is none: absent

each with its standard error over problems and n of problems; of `success` n counts replies. Examples: the first
replies to the same problems by each model. Gandhi et al. 2025, "Cognitive Behaviors that Enable Self-Improving
Reasoners", count such behaviours with a judge model; here the form is known, and a pattern is enough.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any

from eval.cli import UserError, command, named_folders, output_file, parse, read_jsonl, write_json
from eval.estimates import accuracy
from eval.guess_check import CHECKS
from eval.shared.messages import check_prompt
from eval.verifiers import reward_function

SUM = re.compile(r"\d+ ?[-+*/] ?\d+ ?= ?\d+")
AGAIN = re.compile(r"\b(?:wait|hmm|another|again|instead|not (?:right|\d+)|wrong)\b", re.IGNORECASE)
EXAMPLES = 3


@dataclass
class SecondTriesArguments:
    models: list[str] = field(metadata={"help": "name=folder (or Hub id) of each chat model"})
    problems: str = field(metadata={"help": ".jsonl file of `prompt`, `verifier` and what that reads"})
    output: str = field(metadata={"help": ".json file to write"})
    samples: int = field(default=4, metadata={"help": "replies a problem"})
    temperature: float = field(default=1.0, metadata={"help": "of sampling; 0 is greedy"})
    max_new_tokens: int = field(default=160, metadata={"help": "of a reply"})
    limit: int | None = field(default=None, metadata={"help": "only the first problems"})
    seed: int = field(default=0, metadata={"help": "of sampling"})


def thinking(text: str) -> str:
    """What stands in front of </think>; all of a text without one."""
    return text.split("</think>")[0]


def tries_again(text: str) -> bool:
    """Whether the thinking holds a second, different sum, behind a word of doubt."""
    thought = thinking(text)
    sums = [(match.group().replace(" ", ""), match.start()) for match in SUM.finditer(thought)]
    if len({words for words, _ in sums}) < 2:
        return False
    between = thought[sums[0][1] : sums[-1][1]]
    return bool(AGAIN.search(between))


def share(flags: list[bool]) -> dict:
    """A share of replies with its standard error, n of replies."""
    n = len(flags)
    value = sum(flags) / n
    return {"value": value, "stderr": math.sqrt(value * (1 - value) / n), "n": n}


def measure(rows: list[dict], replies: list[list], rewards: list[list[float]]) -> dict:
    """The figures of one model.

    Args:
        rows: N problems.
        replies: N lists of `eval.generation.generate.Generation`.
        rewards: N lists of verdicts, one a reply.
    """
    tries = len(replies[0])
    checks, again, lengths = [], [], []
    for group in replies:
        checks.append(sum(bool(CHECKS.search(thinking(reply.text))) for reply in group) / tries)
        again.append([tries_again(reply.text) for reply in group])
        lengths.append(sum(len(reply.token_ids) for reply in group) / tries)
    figures: dict[str, Any] = {
        "accuracy": accuracy([sum(verdicts) / tries for verdicts in rewards]),
        "tokens": accuracy(lengths),
        "checks": accuracy(checks),
        "second_tries": accuracy([sum(flags) / tries for flags in again]),
    }
    outcomes = [
        verdict == 1.0 for verdicts, flags in zip(rewards, again) for verdict, second in zip(verdicts, flags) if second
    ]
    if outcomes:
        figures["success"] = share(outcomes)
    shown = zip(rows[:EXAMPLES], replies, rewards)
    figures["examples"] = [
        {"question": row["prompt"][-1]["content"], "text": group[0].text, "right": verdicts[0] == 1.0}
        for row, group, verdicts in shown
    ]
    return figures


def read_problems(args: SecondTriesArguments) -> list[dict]:
    """The problems, checked.

    Raises:
        UserError: a setting out of range, a row that is none, or one that its verifier cannot judge.
    """
    if args.samples < 1 or args.max_new_tokens < 1 or args.temperature < 0:
        raise UserError("samples and max_new_tokens must be at least 1, and temperature not negative")
    if args.limit is not None and args.limit < 2:
        raise UserError(f"limit must be at least 2 problems, but is {args.limit}")
    writes = "python -m data_prep.second_tries writes such rows"
    rows = read_jsonl(args.problems, ("prompt", "verifier"), writes)[: args.limit]
    for number, row in enumerate(rows, 1):
        check_prompt(row, f"{args.problems}, line {number}")
        if verdicts(row, [""])[0] is None:
            raise UserError(f"{args.problems}, line {number}: {row['verifier']} cannot judge it")
    return rows


def verdicts(row: dict, texts: list[str]) -> list[float | None]:
    """The verdict of the row's verifier on each text.

    Raises:
        UserError: the row has no such column as the verifier reads, or names none that is known.
    """
    columns = {key: [value] * len(texts) for key, value in row.items() if key != "prompt"}
    return reward_function("by_row")(texts, **columns)


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((SecondTriesArguments,), argv)
    models = named_folders(args.models)
    rows = read_problems(args)
    output_file(args.output, [*models.values(), args.problems])
    from eval.generation.generate import generate
    from eval.generation.models import load_models, require_chat_template

    results = {}
    for name, folder in models.items():
        model, tokenizer = load_models({name: folder})[name]
        require_chat_template(tokenizer, folder)
        prompts = [row["prompt"] for row in rows]
        sampling = {"max_new_tokens": args.max_new_tokens, "temperature": args.temperature, "seed": args.seed}
        replies = generate(model, tokenizer, prompts, num_return_sequences=args.samples, **sampling)
        rewards = []
        for row, group in zip(rows, replies):
            rewards.append(verdicts(row, [reply.text for reply in group]))
        results[name] = measure(rows, replies, rewards)
        figures = ", ".join(f"{key} {m['value']:.3f}" for key, m in results[name].items() if key != "examples")
        print(f"{name}: {figures}", flush=True)
    settings = {"problems": args.problems, "samples": args.samples, "temperature": args.temperature}
    write_json(args.output, {**settings, "seed": args.seed, "models": results})


if __name__ == "__main__":
    main()
