"""Exercise books: the second source of pretraining text.

Pages that are mostly numbers do not pass a web quality filter (Gopher asks that 80 % of words hold a letter), here as in
FineWeb, whose counterpart for mathematics is FineMath. So arithmetic, spelling and worked solutions come as a source
of their own.
"""

import random

from data_prep import problems


def a_sum(rng: random.Random) -> str:
    """One of the sums that worked solutions are made of."""
    a, b, c, d = rng.randint(2, 5), rng.randint(2, 9), rng.randint(2, 5), rng.randint(2, 9)
    (kind,) = rng.choices("*/-+", (20, 16, 58, 6))
    if kind == "*":
        return f"{a} * {b} = {a * b}."
    if kind == "/":
        return f"{a * b} / {a} = {b}."
    total = a * b + c * d
    return f"{total} - {c * d} = {a * b}." if kind == "-" else f"{c * d} + {a * b} = {total}."


def documents(seed: int, count: int) -> list[dict]:
    """`count` documents of about 150 tokens: sums, worked problems (a book makes no mistakes), spelling, comparisons."""
    rng = random.Random(f"textbooks-{seed}")
    out = []
    for i in range(count):
        kind = rng.choices(("sums", "apples", "letters", "every_third", "compare"), (58, 24, 8, 4, 6))[0]
        if kind == "sums":
            text = " ".join(a_sum(rng) for _ in range(16))
        else:
            lines = []
            for _ in range(2 if kind == "apples" else 3):
                problem = problems.GENERATORS[kind](rng, "train")
                lines.append(f"Question: {problem.question}\nAnswer: {problem.solution}")
            text = "\n".join(lines)
        out.append({"id": f"textbook-{i}", "text": text, "metadata": {"kind": kind}})
    return out
