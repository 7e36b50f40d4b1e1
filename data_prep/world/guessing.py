"""An environment of several turns: find a number by guessing, told each time whether it is higher or lower.

    python -m data_prep.world.guessing --count 500 --output_dir runs/tiny/experiments/guessing

writes problems for it; `recipes.grpo` practises on them with `environment: data_prep.world.guessing:GuessNumber`.
Halving finds a number up to 15 in four guesses; each one more is paid less.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

from eval.cli import UserError, command, output_folder, parse, write_jsonl

HIGHEST, FREE = 15, 4  # halving needs four guesses at most


class GuessNumber:
    """One rollout; `reset` begins it."""

    def __init__(self):
        self.answer, self.guesses, self.found = 0, 0, False

    def reset(self, answer="0", **_) -> None:
        """Begin with the number of a row."""
        self.answer, self.guesses, self.found = int(answer), 0, False

    def guess(self, number: int) -> str:
        """Guess the number.

        Args:
            number: from 1 to 15.

        Returns:
            Whether the number is higher, lower or found.
        """
        self.guesses += 1
        if type(number) is not int:
            return "give a whole number"
        self.found = self.found or number == self.answer
        if number == self.answer:
            return "found"
        return "higher" if number < self.answer else "lower"

    def get_reward(self) -> float:
        """1 for a number found as fast as by halving, less for each guess more, 0 for one that is not found."""
        return max(0.1, 1.0 - 0.2 * max(0, self.guesses - FREE)) if self.found else 0.0


@dataclass
class GuessingArguments:
    output_dir: str = field(metadata={"help": "folder to write train.jsonl to"})
    count: int = field(default=500, metadata={"help": "problems"})
    seed: int = field(default=0, metadata={"help": "of the numbers"})


def problems(count: int, seed: int) -> list[dict]:
    """`prompt` (messages), `answer` and `verifier` of each."""
    draw = random.Random(seed)
    asked = [{"role": "user", "content": f"I think of a number from 1 to {HIGHEST}. Find it by guessing."}]
    return [
        {"prompt": asked, "answer": str(draw.randint(1, HIGHEST)), "verifier": "final_number"} for _ in range(count)
    ]


@command
def main(argv: list[str] | None = None) -> None:
    (args,) = parse((GuessingArguments,), argv)
    if args.count < 1:
        raise UserError(f"count must be at least 1, but is {args.count}")
    folder: Path = output_folder(args.output_dir)
    write_jsonl(folder / "train.jsonl", problems(args.count, args.seed))
    print(f"{folder / 'train.jsonl'}: {args.count:,} problems")


if __name__ == "__main__":
    main()
