"""What each stage does with one batch, on shapes: the phases of training that `recipes.planning.dry_run` measures.

    with on_shapes() as live:
        phases = PHASES["sft"](live, job, {"model": model})

A phase is the model's own forward and backward pass on a batch as wide as the stage's, in its precision; nothing is
computed. The shapes are those of TRL's trainers and of `recipes.trainers.grpo` and
`recipes.trainers.ppo`.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from recipes.planning.live_bytes import LiveBytes, Phase
from recipes.training.packing import arrange

CHUNK = 256  # tokens of which TRL's chunked_nll computes logits at a time
DRAWS = 200  # batches that are drawn to find a wide one
LIKE = 4  # groups of like length that recipes.trainers.grpo reads a batch in


@dataclass
class Job:
    """What a stage is to do.

    Attributes:
        stage: a key of `PHASES`.
        lengths: tokens of each of the first rows: of windows, conversations, or prompts; of pairs the longer reply's
            with its prompt.
        rows: training rows in all; None where that is not known without reading them.
        learned: share of the tokens that carry loss.
        config: of a new model, which is not loaded from `model_name_or_path`.
        models: folders or Hub ids of further models: reference, reward model, critic, teacher.
        vocabulary: tokens that the model has logits for; `recipes.planning.dry_run` sets it.
    """

    stage: str
    args: Any
    training_args: Any
    model_args: Any
    lengths: list[int]
    rows: int | None
    learned: float = 1.0
    config: Any = None
    models: dict[str, str] = field(default_factory=dict)
    vocabulary: int = 0

    @property
    def batch(self) -> int:
        """Rows that one device reads at a time."""
        return self.training_args.per_device_train_batch_size

    @property
    def new_tokens(self) -> int:
        """Tokens of a reply, in the stages that sample; 0 in the others. TRL's PPO pads all to the longest there can
        be."""
        settings = self.training_args
        if self.stage == "ppo":
            return settings.response_length
        most = getattr(settings, "max_completion_length", None) or 0
        return min(most, self.args.reply_tokens or most)

    def logits(self, rows: int, columns: int) -> dict[str, int]:
        """Bytes of the float32 logits [rows, columns, vocabulary] of the trained model."""
        return {"logits": rows * columns * self.vocabulary * 4}

    def autocast(self):
        dtype = torch.bfloat16 if self.training_args.bf16 else torch.float16
        return torch.autocast("cpu", dtype, enabled=bool(self.training_args.bf16 or self.training_args.fp16))


Phases = dict[str, Phase]


def tokens(rows: int, width: int) -> dict[str, torch.Tensor]:
    """A batch [rows, width] of token ids without padding."""
    ids = torch.zeros(rows, width, dtype=torch.long)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def shape(lengths: list[int], packed: bool) -> tuple[int, int]:
    """Rows and columns of a batch of conversations: padded to the longest, or packed as `recipes.training.packing`
    does."""
    if not packed:
        return len(lengths), max(lengths)
    rows, width = arrange(lengths)
    return len(rows), width


def widest(lengths: list[int], batch: int, packed: bool = False) -> tuple[int, int]:
    """Rows and columns of the batch with most tokens among `DRAWS` that are drawn from the first rows."""
    draw = random.Random(0)
    shapes = [shape(draw.choices(lengths, k=batch), packed) for _ in range(DRAWS)]
    return max(shapes, key=lambda shape: shape[0] * shape[1])


# ---- Passes ----
def language_loss(model, job: Job, rows: int, width: int) -> torch.Tensor:
    """The mean loss over all tokens, with all logits at once."""
    batch = tokens(rows, width)
    with job.autocast():
        return model(**batch, labels=batch["input_ids"], use_cache=False).loss


def chunk_loss(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = hidden.float() @ weight.float().t()
    log_p = torch.log_softmax(logits, -1)
    return torch.nn.functional.nll_loss(log_p, labels, reduction="sum")


def chunked_loss(model, job: Job, rows: int, width: int) -> torch.Tensor:
    """TRL's `chunked_nll`: logits of the learned tokens alone, `CHUNK` at a time, computed again in the backward
    pass."""
    batch = tokens(rows, width)
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    with job.autocast():
        hidden = causal.base_model(**batch, use_cache=False).last_hidden_state
        hidden = hidden.reshape(-1, hidden.shape[-1])
        labels = batch["input_ids"].reshape(-1)
        loss = hidden.new_zeros((), dtype=torch.float32)
        weight = causal.get_output_embeddings().weight
        learned = max(1, round(job.learned * len(labels)))
        for start in range(0, learned, CHUNK):
            part = (hidden[start : start + CHUNK], weight, labels[start : start + CHUNK])
            loss = loss + checkpoint(chunk_loss, *part, use_reentrant=False, preserve_rng_state=False)
    return loss


def reply_loss(model, job: Job, rows: int, width: int, columns: int) -> torch.Tensor:
    """A loss on the log-probabilities of the last `columns` tokens, as PPO's and GRPO's."""
    batch = tokens(rows, width)
    with job.autocast():
        logits = model(**batch, use_cache=False, logits_to_keep=columns).logits
    log_p = torch.log_softmax(logits.float(), -1)
    return log_p.gather(-1, batch["input_ids"][:, -columns:, None]).sum()


def score_sum(model, job: Job, rows: int, width: int) -> torch.Tensor:
    """The sum of a reward model's scores."""
    with job.autocast():
        return model(**tokens(rows, width), use_cache=False).logits.float().sum()


def sampled(live: LiveBytes, model, rows: int, prompt: int, new: int) -> Phase:
    """Sampling at its last token, when the cache is at its longest."""
    from transformers import DynamicCache

    with torch.no_grad(), live.phase() as step:
        cache, full = DynamicCache(), DynamicCache()
        model(**tokens(1, 2), past_key_values=cache, use_cache=True)
        for number, layer in enumerate(cache.layers):
            _, heads, _, size = layer.keys.shape
            for_all = torch.empty(rows, heads, prompt + new - 1, size, dtype=layer.keys.dtype)
            full.update(for_all, torch.empty_like(for_all), number)
        whole = {"attention_mask": torch.ones(rows, prompt + new, dtype=torch.long)}
        model(torch.zeros(rows, 1, dtype=torch.long), **whole, past_key_values=full, use_cache=True)
        step.parts["KV cache"] = sum(2 * layer.keys.untyped_storage().nbytes() for layer in full.layers)
    step.flops *= new
    return step


def evaluation(live: LiveBytes, job: Job, loss: Callable, *shape_) -> Phases:
    """The phase of evaluation, where the stage evaluates."""
    if str(job.training_args.eval_strategy.value) == "no":
        return {}
    with torch.no_grad(), live.phase() as phase:
        loss(*shape_)
    return {"evaluation": phase}


# ---- Stages ----
def pretrain(live: LiveBytes, job: Job, models: dict) -> Phases:
    model, width = models["model"], job.lengths[0]
    with live.phase() as training:
        language_loss(model, job, job.batch, width).backward()
    training.parts = job.logits(job.batch, width)
    rows = job.training_args.per_device_eval_batch_size
    return {"training": training} | evaluation(live, job, language_loss, model, job, rows, width)


def sft(live: LiveBytes, job: Job, models: dict) -> Phases:
    settings, model = job.training_args, models["model"]
    loss = chunked_loss if settings.loss_type == "chunked_nll" else language_loss
    packed = job.args.pack_rows
    rows, width = widest(job.lengths, job.batch, packed)
    if settings.packing:
        rows, width = (1, job.batch * settings.max_length)
    with live.phase() as training:
        loss(model, job, rows, width).backward()
    training.parts = job.logits(1, CHUNK) if loss is chunked_loss else job.logits(rows, width)
    wide = widest(job.lengths, settings.per_device_eval_batch_size, packed)
    return {"training": training} | evaluation(live, job, loss, model, job, *wide)


def reward(live: LiveBytes, job: Job, models: dict) -> Phases:
    model = models["model"]
    rows, width = widest(job.lengths, job.batch)
    with live.phase() as training:
        score_sum(model, job, 2 * rows, width).backward()
    rows, width = widest(job.lengths, job.training_args.per_device_eval_batch_size)
    return {"training": training} | evaluation(live, job, score_sum, model, job, 2 * rows, width)


def dpo(live: LiveBytes, job: Job, models: dict) -> Phases:
    rows, width = widest(job.lengths, job.batch)

    def both(grad: bool) -> torch.Tensor:
        with torch.no_grad():
            base = reply_loss(models["reference"], job, 2 * rows, width, width) if "reference" in models else 0.0
        with torch.set_grad_enabled(grad):
            return reply_loss(models["model"], job, 2 * rows, width, width) - base

    with live.phase() as training:
        both(True).backward()
    training.parts = job.logits(2 * rows, width)
    return {"training": training} | evaluation(live, job, both, False)


def ppo(live: LiveBytes, job: Job, models: dict) -> Phases:
    settings, new = job.training_args, job.new_tokens
    rows, width = widest(job.lengths, job.batch)
    sampling = sampled(live, models["model"], rows, width, new)
    sampling.parts |= job.logits(rows, new)  # of all replies: TRL keeps them until they are scored
    sampling.peak += sampling.parts["logits"]
    part = min(rows, settings.local_rollout_forward_batch_size)
    with torch.no_grad(), live.phase() as scoring:
        for model in filter(None, (models.get("reference"), models["model"])):
            reply_loss(model, job, part, width + new, new)
        for name in ("critic", "reward model"):
            score_sum(models[name], job, part, width + new)
    with live.phase() as training:
        rows = max(1, rows // settings.num_mini_batches)
        loss = reply_loss(models["model"], job, rows, width + new, new)
        (loss + score_sum(models["critic"], job, rows, width + new)).backward()
    training.parts = job.logits(rows, new)
    training.flops *= settings.num_ppo_epochs * settings.num_mini_batches
    return {"sampling": sampling, "scoring": scoring, "training": training}


def shared_prompts(model, job: Job, rows: int, groups: int, prompt: int, new: int) -> torch.Tensor:
    """As `recipes.trainers.grpo`: each prompt is read once, then completions of like length together."""
    from transformers import DynamicCache

    cache = DynamicCache()
    with job.autocast():
        model(**tokens(groups, prompt), past_key_values=cache, use_cache=True, logits_to_keep=1)
    loss = torch.zeros(())
    for part in torch.arange(rows).chunk(LIKE):
        own = DynamicCache()
        for number, layer in enumerate(cache.layers):
            whose = torch.zeros(len(part), dtype=torch.long)
            own.update(layer.keys[whose], layer.values[whose], number)
        ids = torch.zeros(len(part), new, dtype=torch.long)
        mask = torch.ones(len(part), prompt + new, dtype=torch.long)
        with job.autocast():
            logits = model(ids, attention_mask=mask, past_key_values=own, use_cache=True).logits
        loss = loss + torch.log_softmax(logits.float(), -1).gather(-1, ids[..., None]).sum()
    return loss


def group(live: LiveBytes, job: Job, models: dict) -> Phases:
    """GRPO and RLOO: sampling, the reference where there is one, and training on groups of replies."""
    settings, model, new = job.training_args, models["model"], job.new_tokens
    processes = max(1, settings.world_size)
    drawn = settings.generation_batch_size // processes
    prompts = max(1, drawn // settings.num_generations)
    _, width = widest(job.lengths, prompts)
    found = {"sampling": sampled(live, model, drawn, width, new)}
    rows = job.batch
    groups = max(1, rows // settings.num_generations)
    whole = (job, rows, width + new, new)
    if "reference" in models:
        with torch.no_grad(), live.phase() as found["scoring"]:
            shared_prompts(models["reference"], job, rows, groups, width, new)
    with live.phase() as found["training"]:
        if settings.activation_checkpointing:
            reply_loss(model, *whole).backward()
        else:
            shared_prompts(model, job, rows, groups, width, new).backward()
    found["training"].parts = job.logits(rows, new)
    return found


def distill(live: LiveBytes, job: Job, models: dict) -> Phases:
    """The student's replies, and the teacher's and the student's passes over them."""
    rows, width = widest(job.lengths, job.batch)
    new = job.new_tokens
    drawn = rows * job.training_args.gradient_accumulation_steps
    found = {"sampling": sampled(live, models["model"], drawn, width, new)}
    with live.phase() as found["training"]:
        with torch.no_grad():
            teacher = models["teacher"].base_model(**tokens(rows, width + new), use_cache=False).last_hidden_state
        chunked_loss(models["model"], job, rows, width + new).backward()
        del teacher
    found["training"].parts = job.logits(1, CHUNK)
    return found


PHASES = {"pretrain": pretrain, "sft": sft, "reward": reward, "dpo": dpo, "ppo": ppo, "grpo": group, "rloo": group}
PHASES["distill"] = distill
