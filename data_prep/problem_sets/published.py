"""Rows of published sets in the form that `recipes.grpo` reads."""

from data_prep.problem_sets.rows import asked
from eval.checking.programs import humaneval_tests

BOXED = "\nThink step by step and end with the answer in \\boxed{}."


def gsm8k(example: dict, suffix: str = '\nThink step by step and end with "The answer is N."') -> dict:
    """openai/gsm8k (Cobbe et al. 2021): the answer follows "####"."""
    return asked(
        example["question"] + suffix,
        answer=example["answer"].split("####")[-1].strip().replace(",", ""),
        verifier="final_number",
    )


def competition_math(example: dict, suffix: str = BOXED) -> dict:
    """HuggingFaceH4/MATH-500 and others of MATH (Hendrycks et al. 2021): the answer is LaTeX."""
    return asked(example["problem"] + suffix, answer=example["answer"], verifier="math")


def humaneval(example: dict, suffix: str = "\nWrite the whole function in one block of Python.") -> dict:
    """openai/openai_humaneval (Chen et al. 2021): `check(candidate)` holds the tests."""
    text = f"Complete this function.\n```python\n{example['prompt'].rstrip()}\n```{suffix}"
    return asked(text, tests=humaneval_tests(example), verifier="code")


def mbpp(example: dict, suffix: str = "\nWrite the whole function in one block of Python.") -> dict:
    """google-research-datasets/mbpp (Austin et al. 2021): assertions, of which the first shows the function's name."""
    setup = [example.get("test_setup_code") or "", *(example.get("test_imports") or ())]
    tests = example["test_list"]
    text = f"{example.get('text') or example['prompt']}\nIt has to pass: `{tests[0]}`{suffix}"
    return asked(text, tests="\n".join([*setup, *tests]), verifier="code")
