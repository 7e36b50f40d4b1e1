"""What a base model learns from a prompt alone: accuracy after 0, 1, 2, 4, 8 and 16 examples.

    python -m eval.probes.in_context --models base=runs/tiny/base --rows runs/tiny/world/eval/compare.jsonl \
        --verifier final_number \\
        --reply "The answer is {answer}." --output in_context.json
    python -m eval.probes.in_context --models base=runs/tiny/base --rows runs/tiny/world/eval/facts_known.jsonl \
        --verifier names_choice \\
        --speakers Human Assistant --output as_assistant.json

An example is another row of the same file, a question and its answer; the answer that the model goes on with, up to
the end of the line, is judged by a verifier of `eval.verifiers` (Brown et al. 2020, "Language Models are Few-Shot
Learners"). No weight changes. With `--speakers Human Assistant` the prompt is the beginning of a conversation, which
makes an assistant of a base model as long as the prompt lasts. A row may bring its own texts in `context`: then so
many of them stand before the question, and show what a model does with what it has just read. Benchmarks of lm-eval
with examples: `python -m eval.run --num_fewshot`.
"""

import random
from dataclasses import dataclass, field

from eval.cli import UserError, command, named_folders, output_file, parse, read_jsonl, write_json
from eval.estimates import accuracy
from eval.verifiers import get_verifier


@dataclass
class InContextArguments:
    models: list[str] = field(metadata={"help": "name=folder (or Hub id) of each base model"})
    rows: str = field(metadata={"help": ".jsonl file of `question`, `answer`, and what the verifier reads"})
    verifier: str = field(metadata={"help": "name in eval.verifiers"})
    output: str = field(metadata={"help": ".json file to write"})
    shots: list[int] = field(
        default_factory=lambda: [0, 1, 2, 4, 8, 16], metadata={"help": "examples before a question"}
    )
    reply: str = field(
        default="{answer}",
        metadata={"help": "an example's answer, with {answer}, in the form that the verifier reads"},
    )
    speakers: list[str] = field(
        default_factory=lambda: ["Question", "Answer"], metadata={"help": "who asks, and who answers"}
    )
    max_new_tokens: int = field(default=32, metadata={"help": "of an answer"})
    limit: int | None = field(default=None, metadata={"help": "only the first questions"})
    batch_size: int = field(default=64, metadata={"help": "answers at a time"})
    seed: int = field(default=0, metadata={"help": "of the choice of examples"})


def prompts(rows: list[dict], shots: int, args: InContextArguments) -> list[str]:
    """For each row asked the beginning of a text that ends where the answer begins: `shots` texts of its own context,
    or else as many other rows with their answers."""
    (asks, answers), out = args.speakers, []
    for place, row in enumerate(rows[: args.limit]):
        if "context" in row:
            examples = " ".join(row["context"][:shots]) + "\n" * bool(shots)
        else:
            others = random.Random(f"{args.seed}-{place}").sample(
                [other for other in rows if other is not row], max(args.shots)
            )  # a shot more is one more in front
            context = [
                (other["question"], other["answer"][0] if isinstance(other["answer"], list) else other["answer"])
                for other in others[len(others) - shots :]
            ]
            examples = "".join(
                f"{asks}: {question}\n{answers}: {args.reply.replace('{answer}', str(answer))}\n\n"
                for question, answer in context
            )
        out.append(f"{examples}{asks}: {row['question']}\n{answers}:")
    return out


def check(row: dict, where: str, shots: int, verifier, brings_context: bool) -> None:
    """That a row can be asked and judged.

    Raises:
        UserError: a column is missing or of the wrong kind, or the verifier needs another.
    """
    answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    if (
        not isinstance(row["question"], str)
        or not row["question"]
        or not answers
        or not all(isinstance(a, (str, int, float)) and a != "" for a in answers)
    ):
        raise UserError(f"{where}: question must be a text, and answer a text, a number or a list of such")
    if ("context" in row) != brings_context:
        raise UserError(f"{where}: either all rows have a context or none")
    context = row.get("context", [])
    if brings_context and not (
        isinstance(context, list) and len(context) >= shots and all(isinstance(text, str) for text in context)
    ):
        raise UserError(
            f"{where}: context must be {shots} texts, as many as the most --shots: give more of them, or ask for fewer"
        )
    try:
        verifier("", **row)
    except (TypeError, AttributeError, ValueError, LookupError) as error:
        raise UserError(
            f"{where}: the verifier cannot judge an answer to it ({error}): choose another, or give the columns that"
            " it reads"
        ) from None


def check_arguments(args, rows: list[dict], verifier) -> None:
    """Raises `UserError` for arguments out of range, and for rows that cannot be asked so often or judged."""
    least_one = min(args.max_new_tokens, args.batch_size, 1 if args.limit is None else args.limit)
    speakers = len(args.speakers) == 2 and all(args.speakers)
    if not speakers or not args.shots or min(args.shots) < 0 or least_one < 1:
        raise UserError("speakers must be two, shots at least 0, max_new_tokens, batch_size and limit at least 1")
    if "{answer}" not in args.reply:
        raise UserError(f"reply must have {{answer}} in it, but is {args.reply!r}")
    most = max(args.shots)
    for number, row in enumerate(rows, 1):
        check(row, f"{args.rows}, line {number}", most, verifier, "context" in rows[0])
    if "context" not in rows[0] and len(rows) <= most:
        raise UserError(
            f"{args.rows} has {len(rows)} rows, too few for {most} examples beside a question: ask for fewer --shots"
        )


def measure(model, tokenizer, rows: list[dict], shots: int, args, verifier, progress) -> dict:
    """`accuracy` after so many examples, `tokens` of a prompt on average, and the first question as `example`.

    Raises:
        UserError: the verifier can judge no answer.
    """
    from eval.generation.generate import generate

    texts = prompts(rows, shots, args)
    done = generate(
        model,
        tokenizer,
        texts,
        max_new_tokens=args.max_new_tokens,
        temperature=0,
        batch_size=args.batch_size,
        stop_strings=["\n"],
        progress=progress,
    )
    judged = []
    for row, (reply,) in zip(rows[: args.limit], done):
        score = verifier(reply.text, **row)
        if score is not None:
            judged.append((score, row["question"], reply.text))
    if not judged:
        raise UserError(f"{args.rows}: {args.verifier} can judge no answer to these rows: choose another verifier")
    right, question, text = judged[0]
    return {
        "accuracy": accuracy([score for score, _, _ in judged]),
        "tokens": sum(len(tokenizer.encode(text)) for text in texts) / len(texts),
        "example": {"question": question, "text": text, "right": right},
    }


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((InContextArguments,), argv)
    models, verifier = named_folders(args.models), get_verifier(args.verifier)
    rows = read_jsonl(
        args.rows, ("question", "answer"), "give rows with question and answer, such as those of runs/tiny/world/eval"
    )
    check_arguments(args, rows, verifier)
    output_file(args.output, [*models.values(), args.rows])
    from tqdm import tqdm

    from eval.generation.models import load_models

    loaded, results = load_models(models), {}
    total = len(models) * len(args.shots) * len(rows[: args.limit])
    with tqdm(total=total, unit="answer", mininterval=1) as bar:
        for name, (model, tokenizer) in loaded.items():
            results[name] = {"shots": {}, "tokens": {}, "examples": {}}
            for shots in sorted(set(args.shots)):
                measured = measure(model, tokenizer, rows, shots, args, verifier, bar.update)
                results[name]["shots"][shots] = measured["accuracy"]
                results[name]["tokens"][shots] = measured["tokens"]
                results[name]["examples"][shots] = measured["example"]
            figures = [f"{shots}: {m['value']:.3f}" for shots, m in results[name]["shots"].items()]
            bar.write(f"{name}: {', '.join(figures)} (n = {measured['accuracy']['n']})")
    settings = {"rows": args.rows, "verifier": args.verifier, "speakers": args.speakers, "seed": args.seed}
    write_json(args.output, {**settings, "models": results})


if __name__ == "__main__":
    main()
