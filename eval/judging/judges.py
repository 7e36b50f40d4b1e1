"""Who says which of two answers is better: a verifier, a reward model, a chat model, or a function.

    judge = load_judge("reward:runs/tiny/reward", rows)
    judge([(row, ["one answer", "another"])])    ->  [{"winner": "a"}]

A chat model is asked twice, with the answers both ways round, as judges favour a place (Zheng et al. 2023, "Judging
LLM-as-a-Judge with MT-Bench and Chatbot Arena", arXiv:2306.05685): what it does not say both times is a tie, and
`position_bias` tells how often it went by place.
"""

import inspect
import json
import re
from pathlib import Path

from eval.cli import UserError
from eval.judging.ratings import over_prompts
from eval.judging.references import forms, load_function, parse_judge
from eval.shared.fingerprints import fingerprint, model_fingerprint
from eval.verifiers import MODULES, get_verifier, reply, reward_function

Pair = tuple[dict, list[str]]  # a row of the prompts, and two answers
SAYS = re.compile(r"\[\[(A|B|tie)\]\]", re.IGNORECASE)
QUESTION = """Two assistants, A and B, answer the same conversation. Judge which answer is better: right, helpful, to\
 the point, well written.
Neither the order of the answers nor their length counts.

The conversation:
{conversation}

The answer of A:
{a}

The answer of B:
{b}

Say briefly why, and end with your verdict: [[A]], [[B]], or [[tie]] where neither is better."""


def by_score(scores: list[tuple]) -> list[dict]:
    """The higher score wins; None is no verdict."""
    return [
        {"winner": None if a is None or b is None else "a" if a > b else "b" if b > a else "tie"} for a, b in scores
    ]


class VerifierJudge:
    """The answer that a verifier of `eval.verifiers` gives more wins.

    Raises:
        UserError: unknown verifier; the rows lack a column that it reads.
    """

    def __init__(self, name: str, rows: list[dict]):
        get_verifier(name)
        self.verify = reward_function(name)
        self.made_from = fingerprint(
            [Path(__file__).parents[1] / f"{module}.py" for module in MODULES], by_content=True
        )
        self._scores([(row, "") for row in rows])

    def _scores(self, answers: list[tuple[dict, str]]) -> list[float | None]:
        columns = {}
        for key in answers[0][0] if answers else ():
            columns[key] = [row.get(key) for row, _ in answers]
        return self.verify([text for _, text in answers], **columns)

    def __call__(self, pairs: list[Pair]) -> list[dict]:
        scores = self._scores([(row, text) for row, texts in pairs for text in texts])
        return by_score(list(zip(scores[::2], scores[1::2])))


class RewardJudge:
    """The answer with the higher score of a reward model wins."""

    def __init__(self, path: str):
        from eval.generation.models import load_reward_model

        (self.model, self.tokenizer), self.made_from = load_reward_model(path), model_fingerprint(path)
        self([({"prompt": [{"role": "user", "content": "?"}]}, ["!", "?"])])  # raises where it is none

    def __call__(self, pairs: list[Pair]) -> list[dict]:
        from eval.pairs import score

        asked = []
        for row, texts in pairs:
            for text in texts:
                asked.append([*row["prompt"], {"role": "assistant", "content": text}])
        keys = [json.dumps(conversation) for conversation in asked]
        once = dict(zip(keys, asked))  # equal answers get equal scores, whatever the batch
        scores = dict(zip(once, score(self.model, self.tokenizer, list(once.values()))))
        by_answer = [scores[key] for key in keys]
        return by_score(list(zip(by_answer[::2], by_answer[1::2])))


class FunctionJudge:
    """The answer that a function of (row, answer) gives more wins.

    Raises:
        UserError: there is no such function.
    """

    def __init__(self, name: str):
        self.score = load_function(name)
        file = inspect.getsourcefile(inspect.unwrap(self.score))
        self.made_from = fingerprint([Path(file)], by_content=True)

    def __call__(self, pairs: list[Pair]) -> list[dict]:
        scores = []
        for row, (one, other) in pairs:
            scores.append((self.score(row, one), self.score(row, other)))
        return by_score(scores)


class ModelJudge:
    """A chat model, here or behind an endpoint, that is asked both ways round; equal answers are a tie, unasked."""

    def __init__(self, path: str, name: str | None, max_new_tokens: int):
        from eval.generation.replies import Replier

        self.ask, self.made_from = (
            Replier(path, max_new_tokens, temperature=0, name=name),
            f"{model_fingerprint(path)} {name} {max_new_tokens}",
        )

    @staticmethod
    def _question(row: dict, a: str, b: str) -> list[dict]:
        conversation = "\n".join(f"{message['role']}: {message['content']}" for message in row["prompt"])
        return [{"role": "user", "content": QUESTION.format(conversation=conversation, a=a, b=b)}]

    def __call__(self, pairs: list[Pair]) -> list[dict]:
        asked = []
        for row, (one, other) in pairs:
            if one != other:
                asked += [self._question(row, one, other), self._question(row, other, one)]
        replies = self.ask(asked) if asked else []
        verdicts = iter([verdict(reply[0].text) for reply in replies])
        swapped = {"a": "b", "b": "a"}
        out = []
        for _, (one, other) in pairs:
            if one == other:
                out.append({"winner": "tie"})
                continue
            first = next(verdicts)
            second = next(verdicts)  # of the answers in the other order
            second = swapped.get(second, second)
            if None in (first, second):
                out.append({"winner": None})
            else:
                out.append({"winner": first if first == second else "tie", "verdicts": [first, second]})
        return out


def verdict(text: str) -> str | None:
    """ "a", "b" or "tie"; None where the text has no verdict, or several."""
    verdicts = {word.lower() for word in SAYS.findall(reply(text))}
    return verdicts.pop() if len(verdicts) == 1 else None


def position_bias(votes: list[dict]) -> dict | None:
    """Of a chat model's votes: `first`, how often its verdict is for the answer shown first, of those for one;
    `flipped`, how often it is for the same place both ways round. Each {"value", "stderr", "n"}, over prompts; None
    without such votes."""
    asked = [(str(vote["prompt"]), *vote["verdicts"]) for vote in votes if "verdicts" in vote]
    first = [
        (prompt, float(winner == place))
        for prompt, *both in asked
        for winner, place in zip(both, "ab")
        if winner != "tie"
    ]
    return (
        {
            "first": over_prompts(first),
            "flipped": over_prompts([(prompt, float({one, other} == {"a", "b"})) for prompt, one, other in asked]),
        }
        if asked
        else None
    )


def load_judge(judge: str, rows: list[dict], name: str | None = None, max_new_tokens: int = 256):
    """The judge that a reference (`eval.judging.references`) names: a function of pairs, that returns for each
    `winner` ("a", "b", "tie", or None for no verdict). Its attribute `made_from` is what decides its verdicts.

    Raises:
        UserError: unknown kind, or a judge that cannot be loaded.
    """
    reference = parse_judge(judge)
    if reference is None:
        raise UserError(f"a judge is {forms()}; votes that are there are votes=<file.jsonl>, but got {judge}")
    if reference.kind == "verifier":
        return VerifierJudge(reference.value, rows)
    if reference.kind == "reward":
        return RewardJudge(reference.value)
    if reference.kind == "python":
        return FunctionJudge(reference.value)
    return ModelJudge(reference.value, name, max_new_tokens)
