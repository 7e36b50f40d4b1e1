"""Success of jobs by the number of calls that they take.

    python -m eval.long_jobs --models before=runs/mine/jobs_start after=runs/mine/jobs_practice \
        --tools search=runs/tiny/index --jobs runs/mine/jobs/test.jsonl --output runs/mine/jobs.json

Rows have `prompt`, `verifier` with what that reads, and `calls`: how many calls the job takes (`data_prep.world.jobs`
writes such). For each model and number of calls: `success` (the verdict), `calls` that were made and `tokens`, results
included, a job, each with its standard error and n of jobs; and `success_from_4`, of all jobs of four calls and more.
A line is printed for each number of calls as it is done.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from eval.cli import UserError, command, named_folders, output_file, parse, read_jsonl, write_json
from eval.estimates import accuracy
from eval.second_tries import verdicts
from eval.shared.messages import check_prompt

LONG = 4


@dataclass
class LongJobsArguments:
    models: list[str] = field(metadata={"help": "name=folder (or Hub id) of each chat model"})
    jobs: str = field(metadata={"help": ".jsonl file of `prompt`, `calls`, `verifier` and what that reads"})
    tools: list[str] = field(metadata={"help": "python, search=<index folder> or module:function"})
    output: str = field(metadata={"help": ".json file to write"})
    temperature: float = field(default=0.0, metadata={"help": "0 is greedy"})
    max_new_tokens: int = field(default=800, metadata={"help": "of a job, its results included"})
    max_result_tokens: int = field(default=80, metadata={"help": "of one result"})
    max_tool_calls: int = field(default=12, metadata={"help": "turns of a job whose calls are run"})
    seed: int = field(default=0, metadata={"help": "of sampling"})


def read_jobs(path: str) -> dict[int, list[dict]]:
    """The jobs by the number of their calls, in order.

    Raises:
        UserError: a row that is none, or that its verifier cannot judge.
    """
    by_calls = defaultdict(list)
    rows = read_jsonl(path, ("prompt", "calls", "verifier"), "python -m data_prep.world.jobs writes such rows")
    for number, row in enumerate(rows, 1):
        where = f"{path}, line {number}"
        check_prompt(row, where)
        if type(row["calls"]) is not int or row["calls"] < 1:
            raise UserError(f"{where}: calls must be a whole number from 1, but is {row['calls']!r}")
        if verdict(row, "")[0] is None:
            raise UserError(f"{where}: {row['verifier']} cannot judge it")
        by_calls[row["calls"]].append(row)
    return dict(sorted(by_calls.items()))


def verdict(row: dict, text: str) -> list[float | None]:
    """What the row's verifier says of one text, in a list."""
    return verdicts({key: value for key, value in row.items() if key != "calls"}, [text])


def measure(rows: list[dict], replies: list) -> dict:
    """The figures of jobs of one length; `replies`: a `Generation` each."""
    made = []
    for reply in replies:
        made.append(sum(len(message.get("tool_calls") or []) for message in reply.messages))
    hits = [verdict(row, reply.text)[0] for row, reply in zip(rows, replies)]
    return {
        "success": accuracy(hits),
        "calls": accuracy(made),
        "tokens": accuracy([len(reply.token_ids) for reply in replies]),
    }


def pooled(by_calls: dict[int, dict]) -> dict | None:
    """The success of all jobs of at least `LONG` calls, of as many jobs each; None where there are none."""
    long = [measured["success"] for calls, measured in by_calls.items() if calls >= LONG]
    if not long:
        return None
    n = sum(m["n"] for m in long)
    value = sum(m["value"] * m["n"] for m in long) / n
    return {"value": value, "stderr": (value * (1 - value) / n) ** 0.5, "n": n}


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((LongJobsArguments,), argv)
    models = named_folders(args.models)
    if min(args.max_new_tokens, args.max_result_tokens, args.max_tool_calls) < 1 or args.temperature < 0:
        raise UserError(
            "max_new_tokens, max_result_tokens and max_tool_calls must be at least 1, temperature not below 0"
        )
    jobs = read_jobs(args.jobs)
    output_file(args.output, [*models.values(), args.jobs])
    from eval.generation.generate import generate
    from eval.generation.models import load_models
    from eval.generation.tool_loop import load_tools

    tools = load_tools(args.tools)
    if not tools:
        raise UserError("jobs take calls: name the tools with --tools")
    limits = {"max_new_tokens": args.max_new_tokens, "max_result_tokens": args.max_result_tokens}
    limits |= {"max_tool_calls": args.max_tool_calls, "temperature": args.temperature, "seed": args.seed}
    results = {}
    for name, folder in models.items():
        model, tokenizer = load_models({name: folder})[name]
        by_calls = {}
        for calls, rows in jobs.items():
            drawn = generate(model, tokenizer, [row["prompt"] for row in rows], tools=tools, **limits)
            by_calls[calls] = measure(rows, [reply for (reply,) in drawn])
            made = by_calls[calls]
            print(f"{name}, {calls} calls: success {made['success']['value']:.3f} (n = {len(rows)})", flush=True)
        results[name] = {"by_calls": by_calls, "success_from_4": pooled(by_calls)}
    settings = {"jobs": args.jobs, "temperature": args.temperature, "seed": args.seed}
    write_json(args.output, {**settings, "models": results})


if __name__ == "__main__":
    main()
