"""Whether a reply is right, and what the replies to a question together say: the verdict."""

import re

from data_prep.probing.arguments import F1_AT, RefusalsArguments
from eval.generation.replies import Replier
from eval.verifiers import get_verifier, refusal, reply

KNOWS, UNKNOWN, UNSURE, UNJUDGED = VERDICTS = ("knows", "does not know", "unsure", "unjudged")
JUDGE = """Question: {question}
Reference answer: {answer}

<reply>
{reply}
</reply>

Does the reply state the same answer to the question as the reference? Begin with yes or no."""
YES_NO = re.compile(r"\W*(yes|no)\b(?!\s*(?:/|or\b|and\b))", re.IGNORECASE)


def verified(row: dict, text: str, args: RefusalsArguments) -> bool | None:
    """Whether a reply is right by the verifier, for any alias of the answer."""
    name = args.judge or ("names_choice" if "choices" in row else "mentions")
    aliases = {a.casefold() for a in row["answer"]}
    others = [c for c in row.get("choices", ()) if c.casefold() not in aliases]
    scores = [get_verifier(name)(text, answer=a, choices=others) for a in row["answer"]]
    judged = [s for s in scores if s is not None]
    if not judged:
        return None
    full = (args.f1_at or F1_AT) if name == "token_f1" else 1.0
    return max(judged) >= full


def judgements(judge: Replier, asked: list[tuple[dict, str]]) -> list[bool | None]:
    """Whether the judge calls each reply right; None where it begins with neither yes nor no."""
    if not asked:
        return []
    prompts = [
        JUDGE.format(question=row["question"], answer=" or ".join(row["answer"]), reply=reply(text))
        for row, text in asked
    ]
    judged = judge([[{"role": "user", "content": prompt}] for prompt in prompts])
    words = [YES_NO.match(reply(judgement.text)) for (judgement,) in judged]
    return [None if word is None else word[1].casefold() == "yes" for word in words]


def refuses(text: str) -> bool:
    return refusal(text) == 1.0


def verdict(right: list[bool | None], knows_at: float, unknown_at: float) -> str:
    """One of `VERDICTS` about a question, by the share of its judged replies that are right."""
    judged = [r for r in right if r is not None]
    if 2 * len(judged) <= len(right):
        return UNJUDGED
    share = sum(judged) / len(judged)
    if share >= knows_at:
        return KNOWS
    return UNKNOWN if share <= unknown_at else UNSURE
