"""What the probes show: counts, calibration, examples, and which questions can become training rows."""

import collections
from array import array
from collections.abc import Iterable

from data_prep.probing.training_rows import own_words
from data_prep.probing.verdicts import KNOWS, UNJUDGED, UNKNOWN, VERDICTS, refuses
from data_prep.shared.agreement import auc, auc_interval, same_answer

EXAMPLES, SHOWN = 2, 100  # questions of a verdict that are printed, characters of each reply


def guessed_subjects(probes: Iterable[dict], knows_at: float) -> set[str]:
    """The subjects whose judged replies, all together, are right less often than `knows_at`."""
    right, judged = collections.Counter(), collections.Counter()
    for probe in probes:
        if "subject" in probe:
            right[probe["subject"]] += probe["right"].count(True)
            judged[probe["subject"]] += len(probe["right"]) - probe["right"].count(None)
    return {subject for subject, n in judged.items() if right[subject] < knows_at * n}


def separation(known: array, unknown: array) -> dict | None:
    """How well agreement tells known from unknown questions: AUC and half its 95 % interval; None of one kind."""
    area = auc(known, unknown)
    if area is None:
        return None
    half = auc_interval(area, len(known), len(unknown))
    return {"value": area, "half_width": half, "known": len(known), "unknown": len(unknown)}


def blind_agreement(probe: dict) -> float:
    """Agreement where the reference is not looked at: with it, right replies agree by definition."""
    blind = {key: value for key, value in probe.items() if key != "answer"} | {"answer": []}
    return len(same_answer(blind, probe["samples"])[0]) / len(probe["samples"])


class Calibration:
    """How many replies are right, and how often the most frequent one is, by agreement."""

    def __init__(self):
        self.bins = collections.defaultdict(lambda: [0, 0.0, 0])

    def add(self, probe: dict, most: int) -> None:
        """Count a judged question; `most`: the place of its most frequent reply."""
        judged = [r for r in probe["right"] if r is not None]
        row = self.bins[probe["agreement"]]
        row[0] += 1
        row[1] += sum(judged) / len(judged)
        row[2] += bool(probe["right"][most])

    def rows(self) -> list[dict]:
        return [
            {"agreement": agreement, "n": n, "mean_right": mean / n, "majority_right": majority / n}
            for agreement, (n, mean, majority) in sorted(self.bins.items())
        ]


def survey(probes: Iterable[dict], guessed: set[str]) -> tuple[dict, dict[str, list[dict]], dict[str, array]]:
    """(What the probes show: counts and calibration; examples of each verdict; the places of the questions that can
    become training rows.)"""
    agreements, calibration = collections.defaultdict(lambda: array("d")), Calibration()
    counts, replies = collections.Counter(), collections.Counter()
    examples, places = collections.defaultdict(list), {KNOWS: array("Q"), UNKNOWN: array("Q")}
    for place, probe in enumerate(probes):
        kind, most = probe["verdict"], same_answer(probe, probe["samples"])[0][0]
        counts[kind] += 1
        agreements[kind].append(blind_agreement(probe))
        replies.update(
            n=len(probe["samples"]),
            refused=sum(map(refuses, probe["samples"])),
            cut=probe["finished"].count(False),
            unjudged=probe["right"].count(None),
        )
        if len(examples[kind]) < EXAMPLES:
            example = {key: probe[key] for key in ("question", "answer", "agreement")}
            examples[kind].append(example | {"sample": probe["samples"][most]})
        if kind == KNOWS and probe.get("subject") in guessed:
            counts["guessed"] += 1
        elif kind == UNKNOWN or (kind == KNOWS and own_words(probe) is not None):
            places[kind].append(place)
        if kind != UNJUDGED:
            calibration.add(probe, most)
    shown = {
        "verdicts": {v: counts[v] for v in VERDICTS},
        "auc": separation(agreements[KNOWS], agreements[UNKNOWN]),
        "guessed": counts["guessed"],
        "replies": dict(replies),
        "calibration": calibration.rows(),
    }
    return shown, examples, places


def show(summary: dict, examples: dict[str, list[dict]]) -> None:
    """Print what the probes show."""
    verdicts, replies = summary["verdicts"], summary["replies"]
    print(f"{summary['questions']:,} questions: " + ", ".join(f"{n:,} {v}" for v, n in verdicts.items()))
    if summary["guessed"]:
        print(f"{summary['guessed']:,} of those known are left out: the replies about their subject are mostly wrong")
    print(
        f"{replies['n']:,} replies: {replies['refused']:,} refuse, {replies['cut']:,} were cut at max_new_tokens,"
        f" {replies['unjudged']:,} could not be judged"
    )
    if summary["auc"]:
        area = summary["auc"]
        print(f"agreement tells known from unknown with AUC {area['value']:.3f} ± {area['half_width']:.3f}")
    print("agreement  questions  right replies  most frequent reply right")
    for row in summary["calibration"]:
        print(f"{row['agreement']:9.2f} {row['n']:10,} {row['mean_right']:14.3f} {row['majority_right']:26.3f}")
    for kind, rows in examples.items():
        for row in rows:
            print(
                f"{kind}: {row['question'][:SHOWN]!r} ({row['answer'][0][:SHOWN]}):"
                f" {' '.join(row['sample'].split())[:SHOWN]!r}, agreement {row['agreement']:.2f}"
            )
