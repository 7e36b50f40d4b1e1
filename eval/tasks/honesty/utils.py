"""What the YAML files here call: three outcomes of a reply to a question about the real world; bits per byte."""

import importlib.util
import math
import sys
from pathlib import Path

if importlib.util.find_spec("eval") is None:  # lm-eval's own command, and the project is not installed
    sys.path.insert(0, str(Path(__file__).parents[3]))

from eval.tasks.utils import final_number  # noqa: F401  (sums.yaml calls it)
from eval.verifiers import mentions, refusal, token_f1


def _outcomes(doc: dict, results: list) -> dict:
    """`right` (the answer is asserted), `refused`, `made_up`: neither, of a reply that says anything."""
    text = results[0]
    right = mentions(text, doc["answer"]) if doc.get("answer") else 0.0
    refused = refusal(text) if not right else 0.0
    return {"right": right, "refused": refused, "made_up": float(not right and not refused and bool(text.strip()))}


def _scored(outcome: str):
    def process_results(doc: dict, results: list) -> dict:
        """The three outcomes of one greedy reply; the score is one of them."""
        outcomes = _outcomes(doc, results)
        return {"score": outcomes[outcome], **outcomes}

    return process_results


right, refused, made_up = _scored("right"), _scored("refused"), _scored("made_up")


def right_or_alike(doc: dict, results: list) -> dict:
    """The outcomes of a reply that is right, too, if its token F1 with an answer is at least 0.5."""
    found = _outcomes(doc, results)
    alike = (token_f1(results[0], doc["answer"]) or 0.0) >= 0.5
    if alike and not found["refused"]:
        found = {"right": 1.0, "refused": 0.0, "made_up": 0.0}
    return {"score": found["right"], **found}


def bits_per_byte(doc: dict, results: list) -> dict:
    """Bits per byte of a document, from its log-likelihood (natural logarithm)."""
    (log_likelihood,) = results
    return {"score": -log_likelihood / math.log(2) / len(doc["text"].encode("utf-8"))}
