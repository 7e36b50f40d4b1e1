"""Questions with short reference answers as people publish them: trivia, reading comprehension without its passage,
choices."""

import json

from data_prep.schemas import LeftOut, Schema
from eval.shared.messages import Malformed

NO_ANSWER = "it has no reference answer"


def asked(question, answer, choices=None, subject=None) -> list[dict]:
    """The row of a question; each answer once, in order."""
    answers = answer if isinstance(answer, list) else [answer]
    answers = [str(a).strip() for a in answers if isinstance(a, (str, int, float)) and not isinstance(a, bool)]
    if not isinstance(question, str) or not question.strip():
        raise Malformed("there is no question")
    if not any(answers):
        raise LeftOut(NO_ANSWER)
    row = {"question": question.strip(), "answer": list(dict.fromkeys(a for a in answers if a))}
    return [
        row
        | ({"choices": choices} if choices else {})
        | ({"subject": subject} if isinstance(subject, str) and subject else {})
    ]


def named_by_place(answer, choices):
    """The choice whose place or letter an answer gives, as MMLU's does; any other answer as it is."""
    letters = [chr(ord("A") + i) for i in range(len(choices))] if isinstance(choices, list) else []
    if answer in letters and answer not in choices:  # MMLU-Pro's
        return choices[letters.index(answer)]
    is_place = type(answer) is int and isinstance(choices, list) and 0 <= answer < len(choices)
    return choices[answer] if is_place and str(answer) not in map(str, choices) else answer


def own(row: dict) -> list[dict]:
    """`question` and `answer`: a text, a list, or a mapping of `aliases` (TriviaQA), `text` (SQuAD) or `value`."""
    answer, choices = row["answer"], row.get("choices") or row.get("options")
    if isinstance(answer, dict):
        answer = (
            [*filter(None, [answer.get("value")]), *(answer.get("aliases") or [])]
            if "aliases" in answer
            else answer.get("text") or answer.get("value")
        )
    answer = named_by_place(answer, choices)
    if isinstance(answer, bool):
        answer, choices = ("yes" if answer else "no"), ["yes", "no"]
    if isinstance(answer, str) and "####" in answer:
        answer = answer.rpartition("####")[2].strip().replace(",", "")
    return asked(row["question"], answer, choices, row.get("subject"))


def aliases(row: dict) -> list[dict]:
    """PopQA: a list in JSON."""
    given = row["possible_answers"]
    try:
        given = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        raise Malformed("possible_answers are no list in JSON") from None
    return asked(row["question"], given, subject=row.get("subj"))


def answers(row: dict) -> list[dict]:
    """WebQuestions: a list; SQuAD and XQuAD: a mapping with `text`, empty where the passage does not say, or a list
    of mappings."""
    given = row["answers"]
    if isinstance(given, dict):
        given = given.get("text")
    if isinstance(given, list) and given and all(isinstance(one, dict) for one in given):
        given = [one.get("text") for one in given]
    return asked(row["question"], given)


def paragraphs(row: dict) -> list[dict]:
    """An article of SQuAD's own files."""
    questions = []
    for paragraph in row["paragraphs"]:
        for one in paragraph["qas"]:
            if one.get("answers"):
                questions += answers(one)
    if not questions:
        raise LeftOut(NO_ANSWER)
    return questions


def articles(row: dict) -> list[dict]:
    """A file of SQuAD's: as one row with all its articles, or with one article a row, as newer readers of JSON give
    it."""
    return [question for article in article_list(row) for question in paragraphs(article)]


def article_list(row: dict) -> list:
    """What stands in `data`, as a list; empty where that is no article."""
    held = row["data"] if isinstance(row["data"], list) else [row["data"]]
    return [article for article in held if isinstance(article, dict) and "paragraphs" in article]


def labelled(row: dict) -> list[dict]:
    """ARC, CommonsenseQA: the key of the right one of `choices.text`."""
    texts, labels = row["choices"]["text"], row["choices"]["label"]
    if row["answerKey"] not in labels:
        raise LeftOut(NO_ANSWER)
    return asked(row.get("question") or row.get("question_stem"), texts[labels.index(row["answerKey"])], texts)


def best(row: dict) -> list[dict]:
    """TruthfulQA."""
    return asked(row["question"], [row["best_answer"], *(row.get("correct_answers") or [])])


FORMS = (
    Schema("PopQA", ("question", "possible_answers"), aliases),
    Schema("choices with a key", ("choices", "answerKey"), labelled, lambda row: isinstance(row["choices"], dict)),
    Schema("question and answer", ("question", "answer"), own),
    Schema("question and answers", ("question", "answers"), answers),
    Schema("TruthfulQA", ("question", "best_answer"), best),
    Schema("problem and answer", ("problem", "answer"), lambda row: asked(row["problem"], row["answer"])),
    Schema("SQuAD's articles", ("paragraphs",), paragraphs),
    Schema(
        "a file of SQuAD's",
        ("data",),
        articles,
        lambda row: bool(article_list(row)),
    ),
)
