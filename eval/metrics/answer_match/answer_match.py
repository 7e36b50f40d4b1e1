"""Whether a reply is the answer, or says it.

evaluate.load("eval/metrics/answer_match").compute(predictions=["It is New York City."], references=[["New York", "New
York City"]])
"""

import datasets
import evaluate

from eval.cli import UserError
from eval.estimates import accuracy
from eval.verifiers import mentions, normal_words, reply, token_f1


def _is_exact(prediction: str, answers: list[str]) -> bool:
    """Whether the reply is one of the answers, but for case, articles and punctuation; an empty one does not count."""
    words = normal_words(reply(prediction))
    return any(words == normal_words(answer) for answer in answers if normal_words(answer))


class AnswerMatch(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=(
                "Exact match with any of the answers (letter case, punctuation and articles aside), whether one of"
                " them is asserted, and the F1 of words."
            ),
            citation=(
                "Rajpurkar et al. 2016, SQuAD: 100,000+ Questions for Machine Comprehension of Text. arXiv:1606.05250"
            ),
            inputs_description="predictions: replies. references: the answer to each, or a list of its aliases.",
            features=[
                datasets.Features({"predictions": text, "references": answers})
                for answers in (datasets.Sequence(text), text)
            ],
        )

    def _compute(self, predictions, references):
        """`exact`, `contained` (eval.verifiers.mentions) and `f1` (eval.verifiers.token_f1), each with `_stderr`, and
        `n`.

        Raises:
            UserError: an item without an answer.
        """
        references = [[answers] if isinstance(answers, str) else list(answers) for answers in references]
        empty = [number for number, answers in enumerate(references) if not any(map(normal_words, answers))]
        if empty:
            raise UserError(f"reference {empty[0]} holds no answer: give a text, or a list of aliases")
        pairs = list(zip(predictions, references))
        scores = {
            "exact": [float(_is_exact(prediction, answers)) for prediction, answers in pairs],
            "contained": [mentions(prediction, answers) for prediction, answers in pairs],
            "f1": [token_f1(prediction, answers) for prediction, answers in pairs],
        }
        values = {name: accuracy(row) for name, row in scores.items()}
        return {
            f"{name}{end}": row[key]
            for name, row in values.items()
            for end, key in (("", "value"), ("_stderr", "stderr"))
        } | {"n": len(pairs)}
