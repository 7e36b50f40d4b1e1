"""Whether a model refuses what it should refuse, and nothing else.

evaluate.load("eval/metrics/refusal").compute(predictions=["I don't know.", "He lives in Millbrook."],
references=[True, False])
"""

import datasets
import evaluate

from eval.cli import UserError
from eval.estimates import wilson
from eval.verifiers import refusal


class Refusal(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=(
                "Precision, recall and F1 of refusals, with 95 % intervals by Wilson's score. Texts are judged by"
                " eval.verifiers.refusal."
            ),
            citation="Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference.",
            inputs_description=(
                "predictions: replies, or whether each refuses. references: whether it should. choices: of each reply"
                " what it must not assert."
            ),
            features=[
                datasets.Features({"predictions": datasets.Value(kind), "references": datasets.Value("bool")})
                for kind in ("string", "bool")
            ],
        )

    def _compute(self, predictions, references, choices=None):
        """`precision`, `recall`, `f1` (None where nothing was refused, or to be refused), each with `_low` and
        `_high`; the four counts and `n`.

        Raises:
            UserError: choices that do not go with the predictions.
        """
        if choices is not None and (len(choices) != len(predictions) or not isinstance(predictions[0], str)):
            raise UserError("choices go with replies as texts, one list for each")
        if isinstance(predictions[0], str):
            predictions = [
                refusal(text, values) == 1 for text, values in zip(predictions, choices or [()] * len(predictions))
            ]
        pairs = list(zip(predictions, references))
        right, wrong, missed, answered = (
            pairs.count(case) for case in ((True, True), (True, False), (False, True), (False, False))
        )
        out = {}
        for name, n in (("precision", right + wrong), ("recall", right + missed), ("f1", right + wrong + missed)):
            # F1 = 2 s / (1 + s) of the share s of hits in all items that are refused or to be refused
            values = [right / n, *wilson(right, n)] if n else [None] * 3
            out |= {
                name + end: 2 * s / (1 + s) if name == "f1" and n else s
                for end, s in zip(("", "_low", "_high"), values)
            }
        return out | {
            "refused": right,
            "refused_wrongly": wrong,
            "missed": missed,
            "answered": answered,
            "n": len(references),
        }
