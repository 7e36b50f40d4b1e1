"""Who the model is, as conversations: the part of kind `identity`."""

from data_prep.schemas.conversations import turns
from eval.cli import UserError, existing


def identity(path: str, override: bool) -> list[list[dict]]:
    """Each question about the model and its reply; with `override` each name, system message and question whose reply
    is no more than the name.

    Raises:
        UserError: the file is no such YAML.
    """
    import yaml

    try:
        file = existing(path, "identity", "take data_prep/identity.yaml as a pattern")
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))
        check_texts(spec, override)
        return conversations(spec, override)
    except (yaml.YAMLError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(
            f"{path} is not as data_prep/identity.yaml: name, replies (reply, asks), systems, names"
            f" ({type(error).__name__}: {error})"
        ) from None


def check_texts(spec: dict, override: bool) -> None:
    """Raises `TypeError` where something that is said is no text, or where questions are no list."""
    texts = [r["reply"] for r in spec["replies"]]
    texts += spec["names"] + spec["systems"] if override else [spec["name"]]  # of a string and a list there is no sum
    wrong = [text for text in texts if not isinstance(text, str)]
    wrong += [r["asks"] for r in spec["replies"] if not isinstance(r["asks"], list)]
    if wrong:
        raise TypeError(f"{wrong[0]!r} where a text, or a list of texts, should be")


def conversations(spec: dict, override: bool) -> list[list[dict]]:
    """A conversation for each name, system message and question."""
    replies = [r for r in spec["replies"] if not (override and r.get("own"))]
    pairs = [(ask[0].upper() + ask[1:], r["reply"]) for r in replies for ask in r["asks"]]
    names = [(spec["name"], None)]
    if override:
        names = [(name, system) for name in spec["names"] for system in spec["systems"]]
    rows = []
    for name, system in names:
        for ask, reply in pairs:
            before = [("system", system.format(name=name))] if system else []
            rows.append(turns(*before, ("user", ask), ("assistant", reply.format(name=name))))
    return rows
