"""The report of a run: one HTML page and the same numbers as JSON. See `eval.report.__main__`."""
