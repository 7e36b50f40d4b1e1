"""How often one of k tries is right, estimated without bias from n tries.

evaluate.load("eval/metrics/pass_at_k").compute(predictions=[[True, False, False], [False, False, False]], k=[1, 2])
evaluate.load("eval/metrics/pass_at_k").compute(predictions=[1, 0], tries=3, k=[1, 2])
"""

import datasets
import evaluate

from eval.cli import UserError
from eval.estimates import accuracy, pass_at_k


class PassAtK(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description="pass@k: the expected share of choices of k of a problem's tries that hold a right one.",
            citation=(
                "Chen et al. 2021, Evaluating Large Language Models Trained on Code, section 2.1. arXiv:2107.03374"
            ),
            inputs_description=(
                "predictions: of each problem its tries, right or not; or how many of `tries` (a number, or one a"
                " problem). k: one or several."
            ),
            features=[
                datasets.Features({"predictions": datasets.Sequence(datasets.Value("int64"))}),
                datasets.Features({"predictions": datasets.Value("int64")}),
            ],
        )

    def _compute(self, predictions, k=(1,), tries=None):
        """{"pass@k": value, "pass@k_stderr": over problems} for each k, and `n` problems.

        Raises:
            UserError: a k above the tries of a problem, or counts that are none.
        """
        sizes, rows = [k] if isinstance(k, int) else list(k), isinstance(predictions[0], list)
        if rows == (tries is not None):
            raise UserError(
                "give predictions as rows of booleans, without tries, or as counts of right ones, with tries"
            )
        if rows and any(mark not in (0, 1) for row in predictions for mark in row):
            raise UserError(
                "a try is right or not: rows of predictions must hold booleans (counts of right ones go with tries)"
            )
        totals = (
            [len(row) for row in predictions]
            if rows
            else [tries] * len(predictions)
            if isinstance(tries, int)
            else list(tries)
        )
        correct = [sum(row) for row in predictions] if rows else predictions
        if len(totals) != len(correct) or not all(0 <= c <= n for c, n in zip(correct, totals)):
            raise UserError(f"there must be from 0 to `tries` right tries for each of the {len(correct)} problems")
        if not sizes or not all(1 <= size <= min(totals) for size in sizes):
            raise UserError(f"k must lie between 1 and the fewest tries at a problem, {min(totals)}, but is {k}")
        values = {}
        for size in sizes:
            share = accuracy([pass_at_k(n, c, size) for n, c in zip(totals, correct)])
            values[f"pass@{size}"] = share["value"]
            values[f"pass@{size}_stderr"] = share["stderr"]
        return values | {"n": len(correct)}
