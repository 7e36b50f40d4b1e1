"""A conversation as the model sees it: every token, who put it there, and how likely it was."""

from data_prep.tokenizer_pages.show import token_bytes, visible
from eval.cli import UserError
from eval.generation.encoding import encode_text
from recipes.chat_ui.session import Talk


def written_before(talk: Talk, prompt: list[dict], ids: list[int]) -> list[str]:
    """For each token of a conversation "written" by the model, "result" of a tool, with the header that follows, or
    "given"."""
    kinds, at = ["given"] * len(ids), 0
    for k, message in enumerate(prompt):
        if message["role"] != "assistant" or not k:
            continue
        start = talk.ids(prompt[:k])
        stop = encode_text(talk.tokenizer, talk.render(prompt[: k + 1], add_generation_prompt=False))
        if ids[: len(stop)] != stop or stop[: len(start)] != start:
            break  # a template that renders a turn in another way once others follow
        if prompt[k - 1]["role"] == "tool":
            kinds[at : len(start)] = ["result"] * (len(start) - at)
        kinds[len(start) : len(stop)] = ["written"] * (len(stop) - len(start))
        at = len(stop)
    return kinds


def see(talk: Talk, prompt: list[dict] | str, ids: list[int], written: list[int]) -> list[dict]:
    """Every token of the prompt and of the reply `ids`: `id`, `text` as it is seen, `kind` (see `written_before`),
    `mark` (a special token), `breaks` (a line ends), and `p`, the model's probability (temperature 1) of a token that
    it wrote, else None.

    Raises:
        UserError: ids that the model has not, not one of `written` for each, or more tokens than it has positions.
    """
    import torch

    before = talk.ids(prompt)
    vocabulary = min(len(talk.tokenizer), talk.model.config.get_text_config().vocab_size)
    if len(written) != len(ids) or any(not 0 <= i < vocabulary for i in ids):
        raise UserError(f"ids must lie between 0 and {vocabulary - 1:,}, and written say for each who wrote it")
    if talk.positions and len(before) + len(ids) > talk.positions:
        raise UserError(f"these are {len(before) + len(ids):,} tokens, but the model has {talk.positions:,} positions")
    kinds = ["given"] * len(before) if isinstance(prompt, str) else written_before(talk, prompt, before)
    kinds += ["written" if w else "result" for w in written]
    whole = before + ids
    with torch.no_grad():
        logits = talk.model(input_ids=torch.tensor([whole], device=talk.model.device)).logits[0, :-1].float()
        logp = logits.gather(-1, torch.tensor(whole[1:], device=logits.device)[:, None])[:, 0] - logits.logsumexp(-1)
    shares = [None, *logp.exp().tolist()]
    raw, marks = token_bytes(talk.tokenizer, whole), talk.tokenizer.added_tokens_decoder
    return [
        {
            "id": i,
            "text": visible(b) or b.hex(" "),
            "kind": kind,
            "mark": i in marks,
            "breaks": b.endswith(b"\n"),
            "p": p if kind == "written" else None,
        }
        for i, b, kind, p in zip(whole, raw, kinds, shares)
    ]
