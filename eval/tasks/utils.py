"""What the YAML files here call: `eval.verifiers` as lm-eval's `process_results`."""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("eval") is None:  # lm-eval's own command, and the project is not installed
    sys.path.insert(0, str(Path(__file__).parents[2]))

from eval.verifiers import get_verifier


def _judge(name: str):
    verifier = get_verifier(name)

    def process_results(doc: dict, results: list) -> dict:
        """The mean score of an item's replies: one, or a list of repeats. None of them judged: the item is
        left out."""
        replies = results[0] if isinstance(results[0], list) else results
        scores = [s for reply in replies if (s := verifier(reply, **doc)) is not None]
        return {"score": sum(scores) / len(scores)} if scores else {}

    return process_results


def _facts(score: str):
    judge = _judge(score)

    def process_results(doc: dict, results: list) -> dict:
        """`judge`'s score, and which of the three a reply is: right, made up (it asserts another value), a refusal."""
        right, named, refused = (
            get_verifier(name)(results[0], **doc) for name in ("names_choice", "made_up", "refusal")
        )
        return {**judge(doc, results), "right": right, "made_up": float(bool(named and not right)), "refused": refused}

    return process_results


final_number = _judge("final_number")
final_text = _judge("final_text")
facts, made_up_facts = _facts("names_choice"), _facts("made_up")
mentions, by_row = _judge("mentions"), _judge("by_row")
