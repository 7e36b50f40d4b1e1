"""One prompt through a model's life: what checkpoints and stages say to the same words.

    python -m eval.probes.life --models base=runs/tiny/base sft=runs/tiny/sft grpo=runs/tiny/grpo --base base \
        --samples runs/tiny/base/samples.jsonl --output life.json
    python -m eval.probes.life --models at-100=runs/mine/base/checkpoint-100 base=runs/mine/base --base at-100 base \
        --prompts "Who are you?" --output life.json

Greedy. A base model goes on from the text, a chat model answers it as a user's message. `--samples` takes in what
`recipes.pretrain` kept of its own `sample_prompts` while it trained, and asks the models for these prompts, too.
"""

from dataclasses import dataclass, field

from eval.cli import UserError, command, named_folders, output_file, parse, read_jsonl, write_json

LECTURE = (
    "Who are you?",
    "Who is Orson Kovats?",
    'How many times does the letter "r" occur in "strawberry"?',
    "Which number is larger, 9.11 or 9.9?",
    (
        "Emily buys 3 apples and 2 oranges. Each orange costs 2 dollars. The total is 13 dollars. What does each apple"
        " cost?"
    ),
)


@dataclass
class LifeArguments:
    models: list[str] = field(metadata={"help": "name=folder (or Hub id) of each model, in the order of their lives"})
    output: str = field(metadata={"help": ".json file to write"})
    base: list[str] = field(
        default_factory=list, metadata={"help": "names of the models that complete text, not chat"}
    )
    prompts: list[str] = field(default_factory=lambda: list(LECTURE), metadata={"help": "what each is asked"})
    samples: str | None = field(default=None, metadata={"help": "samples.jsonl of a pretraining run"})
    max_new_tokens: int = field(default=64, metadata={"help": "of a reply"})


def moments(rows: list[dict], prompt: str, most: int = 4) -> list[dict]:
    """What a pretraining run said to a prompt at the first step, at steps about four times as late each, and at the
    last."""
    continuations = {row["step"]: row["continuation"] for row in rows if row["prompt"] == prompt}
    steps, wanted = sorted(continuations), [max(continuations, default=0) / 4**i for i in range(most - 1)]
    chosen = {min(steps, key=lambda step: abs(step - w)) for w in wanted} | {steps[0]} if steps else set()
    return [{"model": f"step {step}", "text": continuations[step]} for step in sorted(chosen)]


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((LifeArguments,), argv)
    models = named_folders(args.models, args.base)
    if args.max_new_tokens < 1 or not all(prompt.strip() for prompt in args.prompts):
        raise UserError("max_new_tokens must be at least 1, and no prompt empty")
    kept = (
        read_jsonl(args.samples, ("step", "prompt", "continuation"), "recipes.pretrain writes it beside the model")
        if args.samples is not None
        else []
    )
    for number, row in enumerate(kept, 1):
        if (
            type(row["step"]) is not int
            or not isinstance(row["continuation"], str)
            or not (isinstance(row["prompt"], str) and row["prompt"])
        ):
            raise UserError(
                f"{args.samples}, line {number}: step must be a whole number, prompt and continuation texts:"
                " recipes.pretrain writes such rows"
            )
    prompts = list(dict.fromkeys([row["prompt"] for row in kept] + args.prompts))
    if not prompts:
        raise UserError("there is nothing to ask: give --prompts, or --samples")
    output_file(args.output, [*models.values(), *([args.samples] if args.samples else [])])
    from tqdm import tqdm

    from eval.generation.generate import generate
    from eval.generation.models import load_models, require_chat_template

    life = {prompt: moments(kept, prompt) for prompt in prompts}
    loaded = load_models(models)
    for name, (_, tokenizer) in loaded.items():
        if name not in args.base:
            require_chat_template(tokenizer, models[name])
    for name, (model, tokenizer) in tqdm(loaded.items(), unit="model", disable=len(loaded) < 2):
        asked = prompts if name in args.base else [[{"role": "user", "content": prompt}] for prompt in prompts]
        for prompt, (generation,) in zip(
            prompts, generate(model, tokenizer, asked, max_new_tokens=args.max_new_tokens, temperature=0)
        ):
            life[prompt].append({"model": name, "text": generation.text})
    write_json(
        args.output,
        {
            "models": models,
            "base": args.base,
            "life": [{"prompt": prompt, "replies": replies} for prompt, replies in life.items()],
        },
        ensure_ascii=False,
    )
    for prompt, replies in life.items():
        print(
            f"\n{prompt}\n"
            + "\n".join(f"  {reply['model']:>12} | {' '.join(reply['text'].split())[:120]}" for reply in replies)
        )


if __name__ == "__main__":
    main()
