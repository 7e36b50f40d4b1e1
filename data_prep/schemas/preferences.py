"""Preferences as people publish them: pairs, two replies with a vote or a score, several with scores or ranks."""

import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from data_prep.schemas import LeftOut, Schema
from data_prep.schemas.conversations import system_of, turns
from eval.shared.messages import Malformed, conversation, text

TURN = re.compile(r"\n\n(Human|Assistant): ?")
EXTRA = re.compile(r"\n?<extra_id_1>(User|Assistant)\n?")
PAIRS = {  # which places of a ranking of n make a pair
    "all": lambda n: itertools.combinations(range(n), 2),
    "adjacent": lambda n: itertools.pairwise(range(n)),
    "best_worst": lambda n: [(0, n - 1)] if n > 1 else [],
}
SCORES = (  # columns of the two scores
    ("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("chosen-rating", "rejected-rating"),
    ("chosen_rating", "rejected_rating"),
    ("rating_chosen", "rating_rejected"), ("chosen_avg_rating", "rejected_avg_rating"),
)  # fmt: skip
TIE, SAME, NOTHING = "both replies are equally good", "both replies are the same", "one of the replies is empty"
STRANGERS = "the two replies answer no common prompt"


def transcript(text: str) -> list[dict]:
    """The turns of a text in the form of hh-rlhf; [] where it is none."""
    before, *spoken = TURN.split(text)
    if before.strip():
        return []
    return turns(
        *(
            ({"Human": "user", "Assistant": "assistant"}[who], what.strip())
            for who, what in zip(spoken[::2], spoken[1::2])
        )
    )


def asked(prompt, row: dict) -> list[dict]:
    """The prompt: messages, a transcript, JSON of texts by turns, HelpSteer's turns, or the user's words."""
    if isinstance(prompt, list):
        return conversation(prompt) if prompt else []
    if not isinstance(prompt, str) or not prompt.strip():
        return []
    messages = [m for m in transcript(prompt) if m["content"]]
    if messages:
        return messages
    first, *others = EXTRA.split(prompt)
    if others:
        spoken = zip(others[::2], others[1::2])
        return turns(
            ("user", first.strip()),
            *(({"User": "user", "Assistant": "assistant"}[who], words.strip()) for who, words in spoken),
        )
    return [*system_of(row), *turns(("user", prompt.strip()))]


def side(given) -> list[dict]:
    """A reply or a whole conversation: messages, a transcript or a text."""
    if isinstance(given, str):
        return transcript(given) or turns(("assistant", given.strip()))
    return conversation([given] if isinstance(given, dict) else given)


def paired(prompt: list[dict], chosen: list[dict], rejected: list[dict], distance: int = 1) -> dict:
    """A row out of a prompt and two replies, or two whole conversations, whose common beginning is the prompt then.

    Raises:
        LeftOut: there is no preference in it.
    """
    if chosen[0]["role"] != "assistant" or rejected[0]["role"] != "assistant" or not prompt:
        prompt = prompt[:1] if prompt and prompt[0]["role"] == "system" and chosen[0]["role"] != "system" else []
        chosen, rejected = prompt + chosen, prompt + rejected
        same = sum(1 for _ in itertools.takewhile(lambda both: both[0] == both[1], zip(chosen, rejected)))
        if chosen == rejected:
            raise LeftOut(SAME)
        prompt, chosen, rejected = chosen[:same], chosen[same:], rejected[same:]
    if chosen == rejected:
        raise LeftOut(SAME)
    if not prompt:
        raise LeftOut(STRANGERS)
    for reply in (chosen, rejected):
        if (
            not reply
            or reply[-1]["role"] != "assistant"
            or not (reply[-1]["content"].strip() or reply[-1].get("tool_calls"))
        ):
            raise LeftOut(NOTHING)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "rank_distance": distance}


def answered(prompt: list[dict], better: str, worse: str) -> list[dict]:
    """The row of two texts."""
    if not isinstance(better, str) or not isinstance(worse, str):
        raise Malformed("the replies are no texts")
    return [paired(prompt, turns(("assistant", better.strip())), turns(("assistant", worse.strip())))]


def ranked(prompt: list[dict], replies: list[tuple[str, float]], kind: str) -> Iterator[dict]:
    """The pairs of replies with scores, more is better; a text that comes twice has the mean of its scores, equal
    scores are a tie."""
    scores = defaultdict(list)
    for reply, score in replies:
        scores[reply].append(score)
    places = defaultdict(list)
    for reply, all_of_it in scores.items():
        places[sum(all_of_it) / len(all_of_it)].append(reply)
    levels = [places[score] for score in sorted(places, reverse=True)]
    if len(scores) < 2:
        raise LeftOut("fewer than two different replies have a score")
    if len(levels) < 2:
        raise LeftOut(TIE)
    for better, worse in PAIRS[kind](len(levels)):
        for chosen, rejected in itertools.product(levels[better], levels[worse]):
            yield paired(prompt, turns(("assistant", chosen)), turns(("assistant", rejected)), worse - better)


# ---- Pairs ----


def own(row: dict, kind: str = "all") -> list[dict]:
    """`chosen` and `rejected`: replies to a prompt that stands beside them, or whole conversations."""
    if row.get("status") == "tie":  # argilla/distilabel-intel-orca-dpo-pairs
        raise LeftOut(TIE)
    for better, worse in SCORES:
        if row.get(better) is not None and row.get(better) == row.get(worse):
            raise LeftOut(TIE)
    if not row["chosen"] or not row["rejected"]:
        raise LeftOut(NOTHING)
    asks = ("prompt", "question", "instruction", "input", "query", "conversations")
    prompt = next((row[key] for key in asks if row.get(key)), None)
    found = paired(asked(prompt, row), side(row["chosen"]), side(row["rejected"]))
    return [found if row.get("rank_distance") is None else found | {"rank_distance": row["rank_distance"]}]


def responses(row: dict, kind: str = "all") -> list[dict]:
    """argilla/ultrafeedback-binarized-preferences."""
    if row.get("chosen_avg_rating") is not None and row["chosen_avg_rating"] == row.get("rejected_avg_rating"):
        raise LeftOut(TIE)
    return answered(
        asked(row.get("instruction") or row.get("prompt"), row), row["chosen_response"], row["rejected_response"]
    )


# ---- Two replies and a vote ----


def vote(better: int | None, prompt: list[dict], replies: tuple) -> list[dict]:
    """The pair of two replies (texts or conversations) of which the one at `better` won; None: neither."""
    if better is None:
        raise LeftOut(TIE)
    if any(not reply for reply in replies):
        raise LeftOut(NOTHING)
    return [paired(prompt, side(replies[better]), side(replies[1 - better]))]


def signed(value) -> int | None:
    """Which of two replies is better where a negative number means the first."""
    return None if not isinstance(value, (int, float)) or value == 0 else int(value > 0)


def helpsteer3(row: dict, kind: str = "all") -> list[dict]:
    return vote(signed(row["overall_preference"]), asked(row["context"], row), (row["response1"], row["response2"]))


def helpsteer2_preference(row: dict, kind: str = "all") -> list[dict]:
    return vote(signed(row["preference_strength"]), asked(row["prompt"], row), (row["response_1"], row["response_2"]))


def shp(row: dict, kind: str = "all") -> list[dict]:
    return vote(
        None if row["score_A"] == row["score_B"] else 1 - int(row["labels"]),
        asked(row["history"], row),
        (row["human_ref_A"], row["human_ref_B"]),
    )


def arena_texts(row: dict, kind: str = "all") -> list[dict]:
    """lmarena-ai/arena-human-preference-55k: turns as lists of texts, in JSON."""
    try:
        prompts, *both = (
            json.loads(row[key]) if isinstance(row[key], str) else row[key]
            for key in ("prompt", "response_a", "response_b")
        )
    except ValueError:
        raise Malformed("prompt and responses are no lists in JSON") from None
    if not all(are_texts(part) for part in (prompts, *both)):
        raise LeftOut(NOTHING)
    talks = tuple(in_turn(prompts, replies) for replies in both)
    return vote(0 if row["winner_model_a"] else 1 if row["winner_model_b"] else None, [], talks)


def are_texts(part) -> bool:
    return isinstance(part, list) and all(isinstance(text, str) for text in part)


def in_turn(prompts: list[str], replies: list[str]) -> list[dict]:
    """A conversation of prompts, each with its reply."""
    messages = []
    for prompt, reply in zip(prompts, replies):
        messages += turns(("user", prompt), ("assistant", reply))
    return messages


def arena(row: dict, kind: str = "all") -> list[dict]:
    try:
        talks = tuple(
            conversation(json.loads(row[key]) if isinstance(row[key], str) else row[key])
            for key in ("conversation_a", "conversation_b")
        )
    except json.JSONDecodeError:
        raise Malformed("the conversations are no JSON") from None
    return vote({"model_a": 0, "model_b": 1}.get(row["winner"]), [], talks)


def safer(row: dict, kind: str = "all") -> list[dict]:
    """PKU-Alignment/PKU-SafeRLHF: the better of two."""
    return vote(int(row["better_response_id"]), asked(row["prompt"], row), (row["response_0"], row["response_1"]))


def webgpt(row: dict, kind: str = "all") -> list[dict]:
    question = row["question"]["full_text"] if isinstance(row["question"], dict) else row["question"]
    return vote(signed(row["score_1"] - row["score_0"]), asked(question, row), (row["answer_0"], row["answer_1"]))


def summaries(row: dict, kind: str = "all") -> list[dict]:
    """openai/summarize_from_feedback, comparisons."""
    post = row["info"].get("post") or row["info"].get("article")
    return vote(
        int(row["choice"]),
        turns(("user", f"Summarise this.\n\n{text(post)}")),
        tuple(summary["text"] for summary in row["summaries"]),
    )


# ---- Several replies with scores ----


def ultrafeedback(row: dict, kind: str = "all") -> Iterator[dict]:
    """openbmb/UltraFeedback."""
    given = [
        c
        for c in row["completions"]
        if isinstance(c, dict)
        and isinstance(c.get("overall_score"), (int, float))
        and isinstance(c.get("response"), str)
    ]
    return ranked(
        asked(row.get("instruction") or row.get("prompt"), row),
        [(c["response"], c["overall_score"]) for c in given],
        kind,
    )


def nectar(row: dict, kind: str = "all") -> Iterator[dict]:
    """berkeley-nest/Nectar: ranks from 1, the best."""
    return ranked(
        asked(row["prompt"].removesuffix("Assistant: ").rstrip(), row),
        [(a["answer"], -a["rank"]) for a in row["answers"]],
        kind,
    )


def rankings(row: dict, kind: str = "all") -> Iterator[dict]:
    """People's rankings, as data_prep.label writes them."""
    levels = [place if isinstance(place, list) else [place] for place in row["ranking"]]
    return ranked(
        asked(row["prompt"], row),
        [(row["responses"][i], -place) for place, tied in enumerate(levels) for i in tied],
        kind,
    )


def helpsteer2(rows: list[dict], kind: str = "all") -> tuple[list[dict], Counter]:
    """nvidia/HelpSteer2: a reply a row; those to one prompt are compared by helpfulness."""
    prompts, made, left_out = defaultdict(list), [], Counter()
    for row in rows:
        prompts[row["prompt"]].append(row)
    for prompt, replies in prompts.items():
        try:
            made += ranked(asked(prompt, replies[0]), [(row["response"], row["helpfulness"]) for row in replies], kind)
        except (LeftOut, Malformed) as error:
            left_out[str(error)] += len(replies)
    return made, left_out


def is_text_or_messages(row: dict) -> bool:
    return all(isinstance(row[key], (str, list, dict)) or row[key] is None for key in ("chosen", "rejected"))


FORMS = (
    Schema("chosen and rejected", ("chosen", "rejected"), own, is_text_or_messages, keeps=True),
    Schema("chosen and rejected responses", ("chosen_response", "rejected_response"), responses),
    Schema(
        "UltraFeedback's scores", ("completions",), ultrafeedback, lambda row: isinstance(row["completions"], list)
    ),
    Schema("HelpSteer3", ("context", "response1", "response2", "overall_preference"), helpsteer3),
    Schema(
        "HelpSteer2's preferences",
        ("prompt", "response_1", "response_2", "preference_strength"),
        helpsteer2_preference,
    ),
    Schema("HelpSteer2's ratings", ("prompt", "response", "helpfulness"), helpsteer2, together=True),
    Schema("SHP", ("history", "human_ref_A", "human_ref_B", "labels"), shp),
    Schema(
        "the arena's texts", ("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b"), arena_texts
    ),
    Schema("the arena's conversations", ("conversation_a", "conversation_b", "winner"), arena),
    Schema("PKU-SafeRLHF", ("prompt", "response_0", "response_1", "better_response_id"), safer),
    Schema("WebGPT's comparisons", ("question", "answer_0", "answer_1", "score_0", "score_1"), webgpt),
    Schema("summaries that were compared", ("info", "summaries", "choice"), summaries),
    Schema(
        "Nectar's ranks",
        ("prompt", "answers"),
        nectar,
        lambda row: isinstance(row["answers"], list) and "rank" in (row["answers"] or [{}])[0],
    ),
    Schema("rankings", ("prompt", "responses", "ranking"), rankings),
)
