"""What a device holds through the whole of training: weights, gradients, the optimiser's state; from a model's shapes.

    held = held_bytes(model, args, training_args, model_args)      # of a model on the meta device

DeepSpeed and FSDP spread them over the processes: ZeRO-2 gradients and optimiser, ZeRO-3 and FSDP the weights, too, of
which one layer is whole at a time (Rajbhandari et al. 2020, "ZeRO", section 5).
"""

import os
from dataclasses import dataclass

import torch

from recipes.training.stage import world_size

STATES = 2  # numbers that Adam keeps for each weight
LESS = {"sgd": 0, "adafactor": 0, "lion": 1, "rmsprop": 1, "adagrad": 1}  # numbers that other optimisers keep
BITS_4, BITS_8 = 0.5 + 4 / 64, 1.0  # bytes a weight: nf4 with a float32 scale for each 64; int8


@dataclass
class Held:
    """Bytes on one device."""

    weights: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer


def sharding() -> str:
    """How accelerate spreads the model: none, ddp, zero1, zero2, zero3 or fsdp."""
    if os.environ.get("ACCELERATE_USE_FSDP", "false") == "true":
        return "fsdp"
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false") == "true":
        return f"zero{os.environ.get('ACCELERATE_DEEPSPEED_ZERO_STAGE', '2')}"
    return "ddp" if world_size() > 1 else "none"


def weight_bytes(model, model_args) -> float:
    """Bytes of all weights and buffers; those of linear layers in 4 or 8 bits where they are quantised."""
    tensors = [*model.parameters(), *model.buffers()]
    whole = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    size = BITS_4 if model_args.load_in_4bit else BITS_8 if model_args.load_in_8bit else None
    if size is None:
        return whole
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    frozen = [layer.weight for layer in linear if not layer.weight.requires_grad]
    return whole - sum(weight.numel() * (weight.element_size() - size) for weight in frozen)


def state_bytes(model, args, training_args) -> float:
    """Bytes of the optimiser's state."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    if getattr(args, "optimizer", None) == "muon":
        ends = {id(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings()) if layer}
        of = {id(weight): 1 if weight.ndim == 2 and id(weight) not in ends else STATES for weight in trained}
        return sum(weight.numel() * 4 * of[id(weight)] for weight in trained)
    name = str(getattr(training_args.optim, "value", training_args.optim))
    states = next((count for start, count in LESS.items() if name.startswith(start)), STATES)
    return sum(weight.numel() * states * (1 if "8bit" in name else weight.element_size()) for weight in trained)


def held_bytes(model, args, training_args, model_args) -> Held:
    """What one device holds of a model on the meta device; a frozen one has weights alone."""
    kind, world = sharding(), world_size()
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    gradients = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    held = Held(weight_bytes(model, model_args), gradients, state_bytes(model, args, training_args) if trained else 0)
    if kind.startswith("zero") and training_args.bf16:  # weights and gradients in bf16, a float32 copy beside Adam's
        held = Held(held.weights / 2, 2 * trained, held.optimizer + 4 * trained)
    if kind == "ddp":
        held.gradients *= 2  # DDP exchanges them in buckets of its own
    if kind in ("zero1", "zero2", "zero3", "fsdp"):
        held.optimizer /= world
    if kind in ("zero2", "zero3", "fsdp"):
        held.gradients /= world
    if kind in ("zero3", "fsdp"):
        held.weights = held.weights / world + 2 * largest_layer(model)
    return held


def largest_layer(model) -> float:
    """Bytes of the largest unit that is gathered at once: a layer of the stack, or an embedding."""
    stacks = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    units = [layer for stack in stacks for layer in stack]
    units += [m for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    return max(map(parameter_bytes, units), default=0)


def parameter_bytes(module) -> float:
    """Bytes of the weights of a module."""
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())
