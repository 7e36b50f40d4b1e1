"""How far a model's certainty is from its accuracy.

evaluate.load("eval/metrics/expected_calibration_error").compute(predictions=[0.9, 0.6], references=[1, 0], bins=10)
"""

import random

import datasets
import evaluate

from eval.cli import UserError
from eval.estimates import bootstrap, expected_calibration_error


class ExpectedCalibrationError(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=(
                "Expected calibration error: the mean gap between confidence and accuracy, over bins of confidence."
            ),
            citation="Guo et al. 2017, On Calibration of Modern Neural Networks. arXiv:1706.04599",
            inputs_description=(
                "predictions: confidences, 0 to 1. references: whether what was said is right. bins: how many."
                " equal_mass: of equally many items."
            ),
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _compute(self, predictions, references, bins=10, equal_mass=False, resamples=1000, seed=0):
        """`expected_calibration_error`, `_low` and `_high` (percentiles of a bootstrap over items), and
        `if_calibrated`: what as many items of these confidences show on average where each is right as often as it
        says, as the error of a sample is never 0.

        Raises:
            UserError: values outside 0 … 1, or no bins.
        """
        if not predictions or not all(0 <= value <= 1 for value in (*predictions, *references)):
            raise UserError("confidences and references must lie between 0 and 1, one or more")
        if bins < 1 or resamples < 1:
            raise UserError(f"bins and resamples must be at least 1, but are {bins} and {resamples}")

        def error(items):
            return expected_calibration_error(*zip(*items), bins, equal_mass=equal_mass)

        items, rng = list(zip(predictions, references)), random.Random(seed)
        drawn = sorted(bootstrap(error, items, resamples, seed))
        calibrated = []
        for _ in range(resamples):
            calibrated.append(error([(p, float(rng.random() < p)) for p in predictions]))
        low, high = drawn[int(0.025 * resamples)], drawn[int(0.975 * resamples)]
        name = "expected_calibration_error"
        return {
            name: error(items),
            f"{name}_low": low,
            f"{name}_high": high,
            "if_calibrated": sum(calibrated) / resamples,
            "n": len(items),
        }
