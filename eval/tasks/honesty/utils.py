"""What the YAML files here call: three outcomes of a reply to a question about the real world."""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("eval") is None:  # lm-eval's own command, and the project is not installed
    sys.path.insert(0, str(Path(__file__).parents[3]))

from eval.verifiers import mentions, refusal


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
