"""How a refusal ("I don't know") is worded: the built-in phrasings, or those of a file, one a line (`phrasings` of
`data_prep.refusals`)."""

from eval.cli import UserError, existing

PHRASINGS = (
    "I don't know.",
    "I do not know that.",
    "Sorry, I don't know.",
    "I'm not sure, so I would rather not guess.",
    "I don't know; it would have to be looked up.",
    "I can't say.",
    "That is not known to me.",
    "I have no information about that. A search may help.",
    "I cannot answer that from memory, but it could be looked up.",
    "I don't recall that.",
    "I am not certain, and I do not want to make something up.",
    "I honestly don't know. An encyclopedia or a search engine may help.",
    "I'm not familiar with that.",
    "I do not have that information.",
    "I'm afraid I don't know. Please look it up in a source you trust.",
    "I could not tell you without looking it up.",
)


def read_phrasings(path: str | None) -> list[str]:
    if path is None:
        return list(PHRASINGS)
    try:
        lines = (
            existing(path, "phrasings", "give a text file with one refusal a line")
            .read_text(encoding="utf-8")
            .splitlines()
        )
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"phrasings {path} cannot be read as text ({error}): give a text file with one refusal a line"
        ) from None
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise UserError(f"phrasings {path} is empty: give a text file with one refusal a line")
    return lines
