"""Judges of pairs of answers, and the ratings that their verdicts give; `eval.arena` is the command."""
