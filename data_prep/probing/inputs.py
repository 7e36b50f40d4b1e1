"""What is asked, or written about: rows of questions or documents, in the one form that the rest reads."""

import collections
import re
from collections.abc import Iterator

from data_prep.probing.arguments import RefusalsArguments
from data_prep.schemas import converted, fitting
from data_prep.schemas.questions import NO_ANSWER, named_by_place
from data_prep.shared.dataset_rows import columns_of, find_parts, read_rows
from eval.cli import UserError


def question_row(row: dict, where: str) -> dict:
    """`question`, `answer` (list of texts) and, if there are any, `choices` and `subject` of a row.

    Raises:
        UserError: one of them is missing or no text.
    """
    question, choices = row.get("question"), row.get("choices") or []
    answer = named_by_place(row.get("answer"), choices)
    if not isinstance(question, str) or not question.strip():
        columns = ", ".join(map(str, row))
        raise UserError(
            f"{where} has no question: expected a text, but found {str(question)[:80]!r} (columns: {columns});"
            " `rename` of a source maps columns"
        )
    answers = answer_texts(answer, where)
    if not isinstance(choices, list) or not all(isinstance(c, str) and c.strip() for c in choices):
        raise UserError(
            f"{where}: choices must be a list of texts, the values that the answer can take, but found"
            f" {str(choices)[:80]!r}"
        )
    subject = row.get("subject") or ""
    if not isinstance(subject, str):
        raise UserError(
            f"{where}: subject must be a text, who or what the question is about, but found {str(subject)[:80]!r}"
        )
    made = {"question": question.strip(), "answer": answers}
    if choices:
        made["choices"] = choices
    if subject:
        made["subject"] = subject
    return made


def answer_texts(answer, where: str) -> list[str]:
    """The aliases of an answer: a text, a number, a list of them, or a mapping that holds one of these.

    Raises:
        UserError: there is none, or one is no text.
    """
    if isinstance(answer, dict):  # TriviaQA, SQuAD
        answer = answer.get("aliases") or answer.get("text") or answer.get("value")
    aliases = answer if isinstance(answer, list) else [answer]
    texts = [str(a).strip() if isinstance(a, str | int | float) and not isinstance(a, bool) else "" for a in aliases]
    if not texts or not all(texts):
        raise UserError(
            f"{where} has no answer: expected a text or a list of texts, but found {str(answer)[:80]!r}; a question"
            " without a reference cannot be probed"
        )
    return texts


def passage_row(row: dict, where: str, most: int) -> dict:
    """The beginning of a document, up to `most` characters, whole words."""
    text = row[columns_of(row, ("text",), where)[0]]
    if not isinstance(text, str):
        raise UserError(f"{where}: text must be a text, but found {str(text)[:80]!r}")
    words = re.match(rf"(?s).{{,{most}}}(?!\S)", text)
    return {"text": (words[0] if words else text[:most]).strip()}


def questions_of(row: dict, where: str, left_out: collections.Counter) -> list[dict]:
    """The questions of a row: of our own form, which must be whole, or of a published one
    (`data_prep.schemas.questions`), counted where it has no reference."""
    if "question" in row and "answer" in row:
        if isinstance(row["answer"], dict) and row["answer"].get("text") == []:  # SQuAD's unanswerable ones
            left_out[NO_ANSWER] += 1
            return []
        return [question_row(row, where)]
    schema = fitting(row, row, "question")
    if not schema:
        return [question_row(row, where)]  # says what it lacks
    questions, reason = converted(schema, row)
    if reason:
        left_out[reason] += 1
    return questions


def read_inputs(args: RefusalsArguments, left_out: collections.Counter) -> Iterator[dict]:
    """The questions, or the beginnings of the documents; rows without a reference are counted in `left_out`."""
    for part in find_parts(args.questions or args.documents):
        for number, _, row in read_rows(part):
            where = f"{part.path}, row {number}"
            if args.questions:
                yield from questions_of(row, where, left_out)
            else:
                yield passage_row(row, where, args.passage_characters)
