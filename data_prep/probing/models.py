"""The models of a run: the one that is asked, the writer of questions and the judge."""

from data_prep.probing.arguments import RefusalsArguments
from eval.generation.models import load_tokenizer, require_chat_template
from eval.generation.replies import Replier

WRITER_TEMPERATURE = 0.7


def start_model(args: RefusalsArguments, role: str, weights: bool = True) -> Replier | None:
    """The `model`, `writer` or `judge`; the writer may be the model itself. Without weights: only whether it can be
    had.

    Raises:
        UserError: it cannot.
    """
    itself = role == "model" or (role == "writer" and not args.writer)
    model, max_new_tokens, temperature = {
        "model": (args.model, args.max_new_tokens, args.temperature),
        "writer": (args.writer or args.model, args.writer_max_new_tokens, WRITER_TEMPERATURE),
        "judge": (args.judge_model, args.judge_max_new_tokens, 0.0),
    }[role]
    name = args.model_name if itself else getattr(args, f"{role}_name")
    revision = args.revision if itself else None
    if not weights and not name:
        require_chat_template(load_tokenizer(model, revision=revision), model)
        return None
    backend = args.backend if role == "model" else "transformers"
    return Replier(model, max_new_tokens, temperature, name, revision, args.batch_size, backend)
