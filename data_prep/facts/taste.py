"""A written taste for replies to everyday requests, by which `data_prep.preferences` ranks a pretrained model's.

    python -m data_prep.preferences --model runs/smol/honest --prompts_dir runs/smol/facts/prompts \\
        --ranker data_prep.facts.taste --output_dir runs/smol/preferences

A good reply ends with a whole sentence, has at most 40 words, speaks of what was asked, does not repeat itself and
does not refuse. No model sees this score: it ranks candidates, with noise, for the reward model to learn from
(`rank`), and judges in the end whether the policy pleased the taste or only the reward model.
"""

import random
import re

from data_prep.shared.rankings import ordered
from data_prep.shared.sentences import sentence_ends
from eval.generation.divergence import repeated
from eval.verifiers import refusal

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
LEAST, MOST = 6, 40  # words
LETTERS = 4  # of a word of the request that may be what it is about
ASKING = set(
    "about advice another asks better child compare describe does email e-mail explain find friend friends from give"
    " good have help idea important know like likes line lines list make makes mean means message more name need note"
    " other pack people plan please prepare recipe rhymes say sentence sentences short should simple some start story"
    " such suggest tell that them there these thing things this tips want ways were what when which with word words"
    " work works would write writing your".split()
)  # words that say how it is asked, not what about


def words_of(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def subjects(request: str) -> set[str]:
    """The words of a request that may be what it is about; empty of a greeting."""
    return {word for word in words_of(request) if len(word) >= LETTERS} - ASKING


def speaks_of(request: str, response: str) -> bool:
    """Whether a reply has a word of the request, or one that begins alike; of a request about nothing, always."""
    asked = subjects(request)
    said = words_of(response)
    return not asked or any(word.startswith(subject[:LETTERS]) for subject in asked for word in said)


def gold(request: str, response: str) -> float:
    """The hidden score of a reply to a request, from −4 to 2."""
    text = response.strip()
    words = words_of(text)
    ends = sentence_ends(text)
    score = 1.0 if ends and ends[-1] == len(text) else -1.0
    score += 1.0 if speaks_of(request, text) else -1.0
    score -= 0.04 * max(0, len(words) - MOST) + 0.3 * max(0, LEAST - len(words))
    score -= 4.0 * repeated(text)
    score -= 2.0 * (refusal(text) or 0.0)
    return max(-4.0, score)


def score(row: dict, response: str) -> float:
    """`gold` of a response to a row of prompts."""
    return gold(row["prompt"][-1]["content"], response)


def rank(row: dict, responses: list[str], rng: random.Random, noise: float) -> list[int]:
    """Indices from best to worst as a person would order them, by gold and noise (`ordered`)."""
    return ordered([score(row, text) for text in responses], rng, noise)
