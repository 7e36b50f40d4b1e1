"""What the YAML files here call: `eval.verifiers` on the columns that the published sets have."""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("eval") is None:  # lm-eval's own command, and the project is not installed
    sys.path.insert(0, str(Path(__file__).parents[3]))

from eval.checking.programs import humaneval_tests
from eval.tasks.honesty.utils import right
from eval.verifiers import code, final_number


def gsm8k(doc: dict, results: list) -> dict:
    """Whether the reply ends on the number behind "####"."""
    return {"score": final_number(results[0], doc["answer"].rpartition("####")[2].strip())}


def humaneval(doc: dict, results: list) -> dict:
    """Whether the program passes; without a sandbox the item is left out."""
    passed = code(results[0], humaneval_tests(doc))
    return {} if passed is None else {"score": passed}


def web_questions(doc: dict, results: list) -> dict:
    """The outcomes of `right`; the set calls its column `answers`."""
    return right({**doc, "answer": doc["answers"]}, results)
