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
    return [{name for name, label in zip(names, labels) if label == group} for group in range(count)]


def ratings(votes: list[dict], resamples: int = 1000, seed: int = 0) -> dict:
    """`models` ({name: rating, low, high, n, wins, losses, ties}, best first), `win_rates` ({name: {other: {"value",
    "stderr", "n"}}}, n prompts, a tie is half), `prompts`, `votes`, `ties`, and `left`: how often the left answer won
    of those that were no tie.

    `low` and `high` are the 2.5 and 97.5 % percentiles of the bootstrap; None where some models won every vote against
    the others, which bounds
    nothing: `note` says so, else it is None.

    Raises:
        UserError: fewer than two prompts; models that never met, not even through others.
    """
    import numpy as np
    from evalica import Winner

    names = sorted({name for vote in votes for name in vote["models"]})
    prompts = [json.dumps(vote["prompt"], sort_keys=True) for vote in votes]
    places = {prompt: at for at, prompt in enumerate(dict.fromkeys(prompts))}
    if len(places) < 2:
        raise UserError(
            "ratings need votes about at least 2 prompts for an interval, but there"
            f" {'is 1' if places else 'are none'}"
        )
    kinds = dict(zip(WINNERS, (Winner.X, Winner.Y, Winner.Draw)))
    met = sorted({tuple(sorted(vote["models"])) for vote in votes})
    cells = {(*pair, winner): at for at, (pair, winner) in enumerate(itertools.product(met, WINNERS))}
    counts, edges = np.zeros((len(places), len(cells))), np.zeros((len(names), len(names)))
    record, rates, left = defaultdict(lambda: [0, 0, 0]), defaultdict(lambda: defaultdict(list)), []
    for vote, prompt in zip(votes, prompts):
        (a, b), winner = vote["models"], vote["winner"]
        points = {"a": 1.0, "b": 0.0, "tie": 0.5}[winner]
        counts[
            places[prompt], cells[(a, b, winner) if a < b else (b, a, {"a": "b", "b": "a"}.get(winner, "tie"))]
        ] += 1
        for one, other, value in ((a, b, points), (b, a, 1 - points)):
            record[one][{1.0: 0, 0.0: 1}.get(value, 2)] += 1
            rates[one][other].append((prompt, value))
            edges[names.index(one), names.index(other)] += value
        left += [(prompt, points)] if winner != "tie" else []
    apart = _groups(names, edges, "weak")
    if len(apart) > 1:
        raise UserError(
            f"{', '.join(sorted(apart[0]))} never met {', '.join(sorted(apart[1]))}, not even through other models:"
            " rate them apart, or let them meet"
        )
    rows, more = (
        [(x, y, kinds[winner]) for x, y, winner in cells],
        np.array([winner == "tie" for *_, winner in cells], float),
    )
    rated = dict(zip(names, _fit(names, rows, counts.sum(0) + more)))
    inside = {frozenset(group): np.isin(names, list(group)) for group in _groups(names, edges, "strong")}
    top = next(
        group for group, mask in inside.items() if not edges[~mask][:, mask].any()
    )  # that no other model beat or tied with
    bounded = len(top) == len(names)
    if bounded:
        drawn = (
            np.random.default_rng(seed).multinomial(len(places), [1 / len(places)] * len(places), size=resamples)
            @ counts
        )
        bounds = dict(
            zip(
                names,
                np.percentile(
                    [_fit(names, rows, weights + more) for weights in drawn], [2.5, 97.5], axis=0
                ).T.tolist(),
            )
        )
    models = {}
    for name in sorted(names, key=lambda name: -rated[name]):
        wins, losses, ties = record[name]
        low, high = bounds[name] if bounded else (None, None)
        models[name] = {
            "rating": float(rated[name]),
            "low": low,
            "high": high,
            "n": wins + losses + ties,
            "wins": wins,
            "losses": losses,
            "ties": ties,
        }
    note = (
        f"no intervals: {', '.join(sorted(top))} won every vote against the others, so that none says how far apart"
        " they are; take more prompts, or fewer models"
    )
    return {
        "models": models,
        "note": None if bounded else note,
        "win_rates": {
            one: {other: over_prompts(rates[one][other]) for other in models if other in rates[one]} for one in models
        },
        "prompts": len(places),
        "votes": len(votes),
        "ties": sum(vote["winner"] == "tie" for vote in votes),
        "left": over_prompts(left),
    }
