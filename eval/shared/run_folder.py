"""The folder of a run in commands and configurations, which name the one of the recipe."""

import re


def moved(value, old: str, new: str):
    """`value` with the folder `old` replaced by `new` in every string within it; `runs/tiny_x` is not in `runs/tiny`.

    Args:
        value: a string, or lists and mappings of them; what is no string stays as it is.
    """
    if isinstance(value, dict):
        return {key: moved(part, old, new) for key, part in value.items()}
    if isinstance(value, list):
        return [moved(part, old, new) for part in value]
    if isinstance(value, str):
        return re.sub(rf"(?<![\w./-]){re.escape(old)}(?![\w.-])", lambda _: new, value)
    return value
