"""Problems as rows of practice or of conversations, and what is said after each question."""

from data_prep.problem_sets.generators import Problem

STEPS = " Think step by step."
AT_ONCE = " Answer at once."


def asked(text: str, **columns) -> dict:
    """A row with the prompt, and the columns that its verifier reads."""
    return {"prompt": [{"role": "user", "content": text}], **columns}


def row(problem: Problem, suffix: str = "") -> dict:
    """A problem as `recipes/grpo.py` reads it."""
    numbers = {"numbers": list(problem.numbers)} if problem.numbers else {}
    return asked(problem.question + suffix, answer=problem.answer, verifier=problem.verifier, **numbers)


def conversation(problem: Problem, suffix: str = "") -> dict:
    """A problem and its worked solution, as `recipes/sft.py` reads it."""
    return {
        "messages": [*row(problem, suffix)["prompt"], {"role": "assistant", "content": problem.solution}],
        "correct": problem.correct,
    }
