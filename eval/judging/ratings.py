"""Bradley–Terry ratings out of votes about pairs of answers, with intervals over prompts.

    found = ratings(read_votes("runs/tiny/arena/votes.jsonl"))

A file of votes holds one a line: `prompt` (messages), `models` (two names), `responses` (the messages of each),
`winner` ("a", the first, shown on the left; "b" or "tie"), `judge`, and of people `labeller` and `time` (unix
seconds). `eval.arena` writes it, and so may any page that people vote on.

The probability that i beats j is s_i / (s_i + s_j) (Bradley and Terry 1952; fitted by `evalica`); a tie is half a win
of each. The rating is 400 · log10(s), moved to a mean of 1000. Every pair of models that met has one tie more than it
had: half a win on each side keeps ratings finite and takes away most of their bias (Firth 1993). Votes about one
prompt are not independent, so the bootstrap draws prompts.
"""

import itertools
import json
from collections import defaultdict
from pathlib import Path

from eval.cli import UserError, read_jsonl
from eval.estimates import accuracy
from eval.shared.messages import check_prompt

WINNERS = ("a", "b", "tie")
MEAN, SCALE = 1000.0, 400.0
CURE = (
    "a vote is prompt, models (two names), responses (of each), winner and judge; such as the page of recipes.chat"
    " --web writes; remove a line that was cut short"
)


def read_votes(path: str | Path) -> list[dict]:
    """The votes of a file.

    Raises:
        UserError: a line is none.
    """
    rows = read_jsonl(path, ("prompt", "models", "responses", "winner", "judge"), CURE)
    for number, row in enumerate(rows, 1):
        where = f"{path}, line {number}"
        check_prompt(row, where)
        models, responses = row["models"], row["responses"]
        if not (
            isinstance(models, list)
            and len(models) == 2
            and all(isinstance(name, str) and name for name in models)
            and models[0] != models[1]
        ):
            raise UserError(f"{where}: models must be two different names, but is {models}: {CURE}")
        if not (
            isinstance(responses, list)
            and len(responses) == 2
            and all(isinstance(messages, list) for messages in responses)
        ):
            raise UserError(f"{where}: responses must be two lists of messages: {CURE}")
        if row["winner"] not in WINNERS:
            raise UserError(f"{where}: winner must be one of {', '.join(WINNERS)}, but is {row['winner']!r}: {CURE}")
    return rows


def over_prompts(votes: list[tuple[str, float]]) -> dict | None:
    """{"value", "stderr", "n"} of (prompt, value), with a standard error over prompts, each of which counts once; None
    without any."""
    groups = defaultdict(list)
    for prompt, value in votes:
        groups[prompt].append(value)
    return accuracy([sum(group) / len(group) for group in groups.values()]) if groups else None


def _fit(names: list[str], cells: list[tuple], weights) -> list[float]:
    """The rating of each model; `cells`: (model, model, winner), each with its weight."""
    import evalica
    import numpy as np
    import pandas as pd

    xs, ys, winners = zip(*cells)
    scores = evalica.bradley_terry(
        xs, ys, winners, index=pd.Index(names), weights=weights, tolerance=1e-9, limit=100_000
    ).scores
    rating = SCALE * np.log10(scores.reindex(names).to_numpy())
    return MEAN + rating - rating.mean()


def _groups(names: list[str], edges, kind: str) -> list[set[str]]:
    """Sets of models that are connected: "weak", have met through others; "strong", each also beats or ties with each
    through others."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    count, labels = connected_components(csr_array(edges), connection=kind)
    groups: list[set[str]] = [set() for _ in range(count)]
    for name, label in zip(names, labels):
        groups[label].add(name)
    return groups


class _Counts:
    """Votes, counted.

    Attributes:
        names: the models.
        cells: (model, model, winner) -> column of `counts`; the models in alphabetical order.
        counts: how many votes each prompt has of each kind, [prompts, cells].
        edges: points that each model won against each other, [models, models].
        record: of each model its wins, losses and ties.
        rates: model -> other -> (prompt, points) of each vote.
        left: (prompt, points of the left answer) of each vote that was no tie.
    """

    def __init__(self, votes: list[dict]):
        import numpy as np

        self.names = sorted({name for vote in votes for name in vote["models"]})
        prompts = [json.dumps(vote["prompt"], sort_keys=True) for vote in votes]
        self.places = {prompt: at for at, prompt in enumerate(dict.fromkeys(prompts))}
        met = sorted({tuple(sorted(vote["models"])) for vote in votes})
        self.cells = {(*pair, winner): at for at, (pair, winner) in enumerate(itertools.product(met, WINNERS))}
        self.counts = np.zeros((len(self.places), len(self.cells)))
        self.edges = np.zeros((len(self.names), len(self.names)))
        self.record: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        self.rates: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
        self.left: list[tuple[str, float]] = []
        for vote, prompt in zip(votes, prompts):
            self._add(vote, prompt)

    def _add(self, vote: dict, prompt: str) -> None:
        a, b = vote["models"]
        winner = vote["winner"]
        points = {"a": 1.0, "b": 0.0, "tie": 0.5}[winner]
        swapped = {"a": "b", "b": "a"}.get(winner, "tie")
        cell = (a, b, winner) if a < b else (b, a, swapped)
        self.counts[self.places[prompt], self.cells[cell]] += 1
        for one, other, value in ((a, b, points), (b, a, 1 - points)):
            self.record[one][{1.0: 0, 0.0: 1}.get(value, 2)] += 1
            self.rates[one][other].append((prompt, value))
            self.edges[self.names.index(one), self.names.index(other)] += value
        if winner != "tie":
            self.left.append((prompt, points))

    def top(self) -> set[str]:
        """The models that no other model beat or tied with: all of them, where the votes bound their ratings."""
        import numpy as np

        for group in _groups(self.names, self.edges, "strong"):
            inside = np.isin(self.names, list(group))
            if not self.edges[~inside][:, inside].any():
                return group
        raise AssertionError("of the strongly connected groups one is always at the top")


def _rate(counts: _Counts, resamples: int, seed: int) -> tuple[dict, dict | None]:
    """The rating of each model, and its (low, high); None where the votes do not bound them."""
    import numpy as np
    from evalica import Winner

    kinds = dict(zip(WINNERS, (Winner.X, Winner.Y, Winner.Draw)))
    names, prompts = counts.names, len(counts.places)
    rows = [(x, y, kinds[winner]) for x, y, winner in counts.cells]
    more = np.array([winner == "tie" for *_, winner in counts.cells], float)
    rated = dict(zip(names, _fit(names, rows, counts.counts.sum(0) + more)))
    if len(counts.top()) < len(names):
        return rated, None
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(prompts, [1 / prompts] * prompts, size=resamples) @ counts.counts
    fits = [_fit(names, rows, weights + more) for weights in drawn]
    bounds = np.percentile(fits, [2.5, 97.5], axis=0).T.tolist()
    return rated, dict(zip(names, bounds))


def _record(wins: int, losses: int, ties: int) -> dict:
    return {"n": wins + losses + ties, "wins": wins, "losses": losses, "ties": ties}


def ratings(votes: list[dict], resamples: int = 1000, seed: int = 0) -> dict:
    """`models` ({name: rating, low, high, n, wins, losses, ties}, best first), `win_rates` ({name: {other: {"value",
    "stderr", "n"}}}, n prompts, a tie is half), `prompts`, `votes`, `ties`, and `left`: how often the left answer won
    of those that were no tie.

    `low` and `high` are the 2.5 and 97.5 % percentiles of the bootstrap; None where some models won every vote against
    the others, which bounds nothing: `note` says so, else it is None.

    Raises:
        UserError: fewer than two prompts; models that never met, not even through others.
    """
    counts = _Counts(votes)
    if len(counts.places) < 2:
        raise UserError(
            "ratings need votes about at least 2 prompts for an interval, but there"
            f" {'is 1' if counts.places else 'are none'}"
        )
    apart = _groups(counts.names, counts.edges, "weak")
    if len(apart) > 1:
        raise UserError(
            f"{', '.join(sorted(apart[0]))} never met {', '.join(sorted(apart[1]))}, not even through other models:"
            " rate them apart, or let them meet"
        )
    rated, bounds = _rate(counts, resamples, seed)
    models = {}
    for name in sorted(counts.names, key=lambda name: -rated[name]):
        low, high = bounds[name] if bounds else (None, None)
        models[name] = {"rating": float(rated[name]), "low": low, "high": high, **_record(*counts.record[name])}
    note = None
    if not bounds:
        note = (
            f"no intervals: {', '.join(sorted(counts.top()))} won every vote against the others, so that none says how"
            " far apart they are; take more prompts, or fewer models"
        )
    win_rates = {}
    for name in models:
        rates = counts.rates[name]
        win_rates[name] = {other: over_prompts(rates[other]) for other in models if other in rates}
    return {
        "models": models,
        "note": note,
        "win_rates": win_rates,
        "prompts": len(counts.places),
        "votes": len(votes),
        "ties": sum(vote["winner"] == "tie" for vote in votes),
        "left": over_prompts(counts.left),
    }
