"""Why a draft is rejected: empty, cut, long, repetitive, a copy, or near another draft."""

from collections import Counter
from dataclasses import dataclass

from data_prep.drafting.arguments import SynthesizeArguments
from data_prep.drafting.prompts import Prompt
from data_prep.shared.ngrams import Index, words

REASONS = {
    "long_prompt": "the prompt has more than max_prompt_words; it was not asked",
    "empty": "nothing but white space",
    "not_finished": "cut at max_new_tokens, or still thinking",
    "long": "more than max_words",
    "repeats": "more than max_repeated of its characters lie in 5-grams of words that it had before",
    "copies": (
        "more than max_copied of its 13-grams stand in a message of the prompt or in the guidelines, or it is that"
        " message"
    ),
    "near_duplicate": (
        "it shares more than max_similar of its 5-grams and all numbers with an earlier draft of the prompt"
    ),
}
# words of an n-gram
REPEATED = 5  # Gopher's shortest (table A1)
COPIED = 13  # as in data_prep.decontaminate
SIMILAR = 5  # as in FineWeb's MinHash


def answer_of(text: str) -> str:
    """The text after the thinking."""
    return text.rpartition("</think>")[2].strip()


def repeated(text: list[str]) -> float:
    """Gopher's share of characters in n-grams that came before, of words without what stands between them."""
    from datatrove.pipeline.filters.gopher_repetition_filter import find_all_duplicate

    return find_all_duplicate(text, REPEATED) / max(1, sum(map(len, text)))


def copied(text: list[str], source: list[str]) -> float:
    """The share of the n-grams that stand in the source, too; a shorter text is a copy where it is the source, and no
    copy else."""
    if text == source or len(text) < COPIED:
        return float(text == source)
    index = Index(COPIED, COPIED)
    index.add(text)
    return index.shares(index.find(source)).get(0, 0.0)


def similar(a: list[str], b: list[str]) -> float:
    """Jaccard similarity of the n-grams; 0 where the numbers are others: 9.11 is no near duplicate of 9.9."""
    if digits(a) != digits(b):
        return 0.0
    grams, others = ngrams(a, SIMILAR), ngrams(b, SIMILAR)
    return len(grams & others) / len(grams | others)


def digits(text: list[str]) -> Counter:
    """How often each word that begins with a digit occurs."""
    return Counter(word for word in text if word[0].isdigit())


def ngrams(text: list[str], n: int) -> set[tuple[str, ...]]:
    """All n-grams of words; of a shorter text the text itself."""
    return {tuple(text[i : i + n]) for i in range(max(1, len(text) - n + 1))}


@dataclass(frozen=True)
class Filter:
    args: SynthesizeArguments
    guidelines: list[str]  # words

    def __call__(self, reply: str, finished: bool, prompt: Prompt, others: list[str]) -> str | None:
        """The first of `REASONS` to reject a model's reply; `others`: answers to the prompt that were kept."""
        answer = answer_of(reply)
        text = words(answer) or answer.split()
        if not finished or answer.startswith("<think>"):
            return "not_finished" if reply.strip() else "empty"
        if not answer:
            return "empty"
        if len(text) > self.args.max_words:
            return "long"
        if repeated(text) > self.args.max_repeated:
            return "repeats"
        sources = [self.guidelines, *(words(message.get("content", "")) for message in prompt.messages)]
        if max(copied(text, source) for source in sources) > self.args.max_copied:
            return "copies"
        if any(similar(text, words(other) or other.split()) > self.args.max_similar for other in others):
            return "near_duplicate"
        return None
