"""Load models and tokenizers by folder or Hub id, with errors that say what to do."""

from pathlib import Path

from eval.cli import UserError, existing

CURE = "give the folder of an earlier stage or a Hub id (owner/name)"


def load_pretrained(auto_class, path: str, what: str, new_head: bool = False, **kwargs):
    """`auto_class.from_pretrained(path)`, complete: transformers fills missing weights at random and only warns.

    Args:
        new_head: the head may be missing, as it is where a reward model starts from a language model.

    Raises:
        UserError: no such folder here and no such id on the Hub, or the folder lacks files or weights.
    """
    if not Path(path).is_dir() and (path.count("/") > 1 or path.startswith((".", "/"))):
        raise UserError(f"{what} {path} does not exist: {CURE}")
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        if not hasattr(auto_class, "from_config"):
            return auto_class.from_pretrained(path, **kwargs)
        model, info = auto_class.from_pretrained(path, output_loading_info=True, **kwargs)
    except (
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
        StrictDataclassError,
        SafetensorError,
    ) as error:  # transformers' messages run over many lines
        if stages := sorted(file.parent.name for file in Path(path).glob("*/config.json")):
            raise UserError(
                f"{what} {path} is no model but a folder of some: give "
                f"{' or '.join(str(Path(path) / s) for s in stages)}"
            ) from None
        message = str(error).strip().splitlines()[0][:200]
        if not hasattr(auto_class, "from_config") and Path(path).is_dir() and not list(Path(path).glob("tokenizer*")):
            message = "it holds no tokenizer (tokenizer.json)"  # transformers speaks of its backends
        raise UserError(f"{what} {path} cannot be loaded ({message}): {CURE}") from None
    missing = sorted(
        key for key in info["missing_keys"] if not (new_head and key.split(".")[0] in ("score", "classifier"))
    )
    if "CausalLM" in auto_class.__name__ and (
        head := [key for key in info["unexpected_keys"] if key.split(".")[0] in ("score", "classifier")]
    ):
        raise UserError(f"{what} {path} is no language model: it gives scores ({head[0]}); {CURE}")
    if missing:
        raise UserError(
            f"{what} {path} lacks the weights {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}: it is"
            f" another kind of model, or not whole; {CURE}"
        )
    return model


def load_on_gpu(auto_class, path: str, what: str = "model"):
    """`load_pretrained` in the precision of the weights, on the GPU where there is one, without a bar."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    return load_pretrained(auto_class, path, what, dtype="auto").to("cuda" if torch.cuda.is_available() else "cpu")


def load_tokenizer(path: str, what: str = "tokenizer", **kwargs):
    """The tokenizer of a folder or Hub id; `what` it is called in errors.

    Raises:
        UserError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    return load_pretrained(AutoTokenizer, path, what, **kwargs)


def replace_chat_template(tokenizer, path: str | None) -> None:
    """Give the tokenizer the chat template of a Jinja file; None leaves it its own.

    Raises:
        UserError: there is no such file.
    """
    if path:
        template = existing(path, "chat template", "give a Jinja file")
        tokenizer.chat_template = template.read_text(encoding="utf-8")


def load_models(models: dict[str, str]) -> dict[str, tuple]:
    """(model, tokenizer) of each folder or Hub id, on the GPU where there is one.

    Raises:
        UserError: one cannot be loaded, or its tokenizer has tokens that it does not know.
    """
    from transformers import AutoModelForCausalLM

    loaded = {}
    for name, path in models.items():
        model, tokenizer = loaded[name] = load_on_gpu(AutoModelForCausalLM, path), load_tokenizer(path)
        if len(tokenizer) > (rows := model.get_input_embeddings().num_embeddings):
            raise UserError(
                f"the tokenizer of {path} has {len(tokenizer)} tokens, and the model embeddings of {rows}: they do not"
                f" belong together; {CURE}"
            )
    return loaded


def load_reward_model(path: str, what: str = "reward model") -> tuple:
    """(model, tokenizer) of a reward model's folder or Hub id, on the GPU where there is one; `what` it is called in
    errors.

    Raises:
        UserError: it cannot be loaded.
    """
    from transformers import AutoModelForSequenceClassification

    tokenizer = load_tokenizer(path, what)
    return load_on_gpu(AutoModelForSequenceClassification, path, what), tokenizer


def require_chat_template(tokenizer, path: str) -> None:
    """Raises `UserError` where the tokenizer has no chat template."""
    if not tokenizer.chat_template:
        raise UserError(
            f"the tokenizer of {path} has no chat template: set tokenizer.chat_template and save it, or take an"
            " instruct model's tokenizer"
        )


def set_end_token(tokenizer) -> None:
    """Take the token that the chat template writes behind a reply for the end token, where the tokenizer names
    another.

    Gemma's <eos> and Phi-3's <|endoftext|> end no turn: what stops at the tokenizer's end token, as PPO does, would
    never stop. Base models with a chat template are the same.
    """
    from eval.generation.control_tokens import marks_of
    from eval.generation.rendering import render

    if not tokenizer.chat_template:
        return
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "sentinel"}]
    for messages in (turns, [*turns, turns[0]]):  # GLM ends a turn with the header of the next
        try:
            before, mark, after = render(tokenizer, messages).rpartition("sentinel")
        except (UserError, TypeError):
            return  # whoever renders says what is wrong
        if mark and (end := marks_of(tokenizer).pattern.search(after)):
            if end[0] != tokenizer.eos_token:
                print(
                    f"a reply ends with {end[0]} here, as in the chat template; the tokenizer named"
                    f" {tokenizer.eos_token}"
                )
                tokenizer.eos_token = end[0]
            return


def set_pad_token(tokenizer) -> None:
    """Take a spare token for padding where the tokenizer has none but its end token."""
    if tokenizer.pad_token is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return
    used = {tokenizer.eos_token, tokenizer.bos_token}
    spare = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    spare = [token for token in spare if token and token not in used and token not in (tokenizer.chat_template or "")]
    for kind in ("pad", "unk", "reserved", "unused", "extra", "dummy", "endoftext", "end_of_text"):
        candidates = [token for token in spare if kind in token.lower()]
        if candidates:
            tokenizer.pad_token = candidates[0]
            print(f"padding with {candidates[0]}: the tokenizer named none but its end token")
            return


def require_pad_token(tokenizer, path: str) -> None:
    """Raises `UserError` where the tokenizer has no pad token of its own: PPO and reward models take every pad for no
    text, the end token too."""
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise UserError(
            f"the tokenizer of {path} needs a pad token that is not its end token {tokenizer.eos_token}: set"
            " tokenizer.pad_token and save it"
        )


def scored_ids(tokenizer, messages: list[dict]) -> list[int]:
    """Token ids of a conversation up to the end token of its last turn, where a reward model reads and PPO scores.

    Templates that write a newline after the last turn would have the reward model read there, at a token the policy
    never writes.

    Raises:
        UserError: the template writes no end token.
    """
    from eval.generation.encoding import encode_conversation, until_end

    ids, _ = encode_conversation(tokenizer, messages)
    prompt, _ = encode_conversation(tokenizer, messages[:-1], add_generation_prompt=True) if messages[1:] else ([], [])
    end = tokenizer.eos_token_id
    ended = until_end(ids, prompt, end)
    if ended[-1] == end:
        return ended
    followed, _ = encode_conversation(tokenizer, [*messages, {"role": "user", "content": "dummy"}])
    if followed[: len(ids) + 1] == [*ids, end]:  # GLM ends a turn with the header of the next
        return [*ids, end]
    raise UserError(
        f"the chat template does not write the end token {tokenizer.eos_token}: set tokenizer.eos_token to the"
        " template's end-of-turn token"
    )
