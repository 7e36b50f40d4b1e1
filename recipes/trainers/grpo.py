"""TRL's GRPOTrainer, faster where many completions share a prompt: the same samples' distribution, log-probabilities
and gradients.

    trainer = Trainer(model=model, reward_funcs=rewards, args=training_args, train_dataset=train, …)

Completions are drawn by `eval.generation.generate`: the copies of a prompt share its forward pass, a finished row
leaves the batch, and with `tools` the calls of a row run while the others go on, under the limits of
`eval.generation.tool_loop`. In the training pass, too, each prompt is read once for all its completions, and
completions of like length are read together. Where a setting asks for what that does not do (vLLM, images, top-k,
gradient checkpointing, …) TRL's own code runs. `python -m recipes.benchmark --stage grpo …` measures the difference.

TRL has no public place for a training pass of one's own, so its methods are overridden here;
tests/recipes/trainers/test_rl_trainers.py compares each with TRL's, and CI runs it with every TRL of constraints*.txt.
Arguments that differ between versions are passed on as they come.
"""

from collections import Counter
from typing import Any

import torch
from transformers import DynamicCache, ProcessorMixin
from transformers.cache_utils import DynamicLayer
from trl import GRPOTrainer
from trl.data_utils import is_conversational
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import entropy_from_logits, selective_log_softmax

from eval.generation.generate import Generation, encode, generate
from eval.generation.sampler import cache_parameter, forward_parameters
from eval.generation.tool_loop import result_ids
from recipes.rewards.environments import Environment
from recipes.rewards.rollouts import Rollout, roll_out

LENGTHS = 4  # groups of like length that a batch is read in


class SharedPrompts:
    """What the trainers of GRPO and of RLOO (`recipes.trainers.rloo`) share, before TRL's class among the
    bases.

    Args:
        environment: whose turns `recipes.rewards.rollouts` runs; its reward function (`environment_reward`) is one of
            the `reward_funcs`.
    """

    # TRL's class has them
    _dist: Any
    accelerator: Any
    args: Any
    aux_loss_enabled: bool
    chat_template_kwargs: dict
    max_completion_length: int
    model: Any
    model_wrapped: Any
    processing_class: Any
    temperature: float
    use_transformers_continuous_batching: bool

    def __init__(self, *args, environment: Environment | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.environment, self.rollouts = environment, list[Rollout]()
        a, layers = self.args, DynamicCache(config=self.model.config).layers
        images = isinstance(self.processing_class, ProcessorMixin)
        plain = (
            a.top_p == 1.0
            and not a.top_k
            and a.min_p is None
            and a.repetition_penalty == 1.0
            and not a.generation_kwargs
        )
        turns = getattr(self, "environment_factories", None) is not None  # RLOO has none
        others = a.use_vllm or self.use_transformers_continuous_batching or images or turns
        self.draws_itself = plain and not others
        if environment and not self.draws_itself:
            raise ValueError(
                "the turns of an environment are sampled here, without vLLM, top_k, top_p and such: leave them out"
            )
        parameters = forward_parameters(self.model)
        self.cache_name = cache_parameter(parameters)
        takes = {"position_ids", "logits_to_keep", self.cache_name} <= parameters
        own = images or a.activation_checkpointing or self.aux_loss_enabled
        # RLOO's settings have no entropy bonus
        self.rewards_entropy = bool(getattr(a, "entropy_coef", 0.0) or getattr(a, "use_adaptive_entropy", False))
        self.shares_prompts = takes and not own and all(type(layer) is DynamicLayer for layer in layers)

    def _generate_and_score_completions(self, inputs):
        if self.environment:
            rendering = self.chat_template_kwargs
            settings = (self.draw_turns, self.processing_class, self.max_completion_length)
            self.rollouts = roll_out(self.environment.play, inputs, *settings, **rendering)
        return super()._generate_and_score_completions(inputs)

    def draw_turns(self, prompt_ids: list[list[int]], most: int) -> list[Generation]:
        """A turn behind each of the token ids, of at most so many tokens."""
        return self.draw(prompt_ids, max_new_tokens=most)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        if self.environment:
            inputs = [{**row, "rollout": rollout} for row, rollout in zip(inputs, self.rollouts)]
            completions = [rollout.messages for rollout in self.rollouts]
        return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)

    def _tokenize_prompts(self, prompts):
        """As TRL's, but what a prompt spells never becomes a control token."""
        if self.environment:
            return [rollout.prompt_ids for rollout in self.rollouts], None, {}
        if isinstance(self.processing_class, ProcessorMixin) or not is_conversational({"prompt": prompts[0]}):
            return super()._tokenize_prompts(prompts)
        return encode(self.processing_class, prompts, **self.rendering), None, {}

    @property
    def rendering(self) -> dict:
        """What the chat template is given beside a conversation."""
        return self.chat_template_kwargs

    def draw(self, prompt_ids: list[list[int]], **more) -> list[Generation]:
        """A completion of each prompt; copies of one share its forward pass. `more`: what else
        `eval.generation.generate` takes."""
        prompts = [tuple(ids) for ids in prompt_ids]
        copies = Counter(prompts)
        repeats = copies[prompts[0]] if len(set(copies.values())) == 1 else 1
        rows = list(copies) if repeats > 1 else prompts
        whole = {"gather_deepspeed3_params": self.args.ds3_gather_for_generation}
        options: dict[str, Any] = {"max_new_tokens": self.max_completion_length, "temperature": self.temperature}
        options |= {"num_return_sequences": repeats, "batch_size": len(prompts), **more}
        with (
            unwrap_model_for_generation(self.model_wrapped, self.accelerator, **whole) as model,
            self._dist.summon_full_params(self.model_wrapped, recurse=False),
        ):
            drawn = generate(model, self.processing_class, [list(row) for row in rows], **options)
        waiting = {row: iter(group) for row, group in zip(rows, drawn)} if repeats > 1 else None
        return [next(waiting[row]) for row in prompts] if waiting else [group[0] for group in drawn]

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **others
    ):
        """As TRL's: log-probabilities and entropies [rows, logits_to_keep] of the completions; 0 behind their ends."""
        if not self.shares_prompts or any(value is not None for value in others.values() if value is not False):
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **others
            )
        completions, completion_mask = input_ids[:, -logits_to_keep:], attention_mask[:, -logits_to_keep:]
        columns = torch.stack([input_ids, attention_mask], -1)[:, :-logits_to_keep]
        prompts, whose = columns.unique(dim=0, return_inverse=True)
        cache = DynamicCache()
        first = self._forward(model, prompts[..., 0], prompts[..., 1], cache, 1)
        lengths = completion_mask.sum(1)
        logps = first.new_zeros(completions.shape)
        entropies = first.new_zeros(completions.shape) if compute_entropy else None
        for rows in lengths.argsort().chunk(LENGTHS * -(-len(input_ids) // (batch_size or len(input_ids)))):
            width = max(1, int(lengths[rows].max()))
            own = DynamicCache()
            for layer in cache.layers:
                own.layers.append(DynamicLayer())
                own.layers[-1].update(layer.keys[whose[rows]], layer.values[whose[rows]])
            logits = first[whose[rows]]
            if width > 1:
                ids, mask = (
                    completions[rows, : width - 1],
                    torch.cat([prompts[whose[rows], :, 1], completion_mask[rows, : width - 1]], 1),
                )
                logits = torch.cat([logits, self._forward(model, ids, mask, own, width - 1)], 1)
            logits = logits / self.temperature
            logps[rows, :width] = selective_log_softmax(logits, completions[rows, :width])
            if compute_entropy:
                with torch.set_grad_enabled(torch.is_grad_enabled() and self.rewards_entropy):
                    entropies[rows, :width] = entropy_from_logits(logits)
        return logps, entropies, None

    def _forward(self, model, ids, mask, cache, logits_to_keep: int):
        """Logits [rows, logits_to_keep, vocabulary] of the last columns of `ids`, which stand behind what `cache`
        holds; `mask` covers both."""
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, self.cache_name: cache}
        with self.accelerator.autocast():
            return model(**inputs, use_cache=True, logits_to_keep=logits_to_keep).logits[:, -logits_to_keep:]


class Trainer(SharedPrompts, GRPOTrainer):
    def __init__(self, *args, max_result_tokens: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.max_result_tokens = max_result_tokens
        if self.environment:
            self.rollout_func = self.rolled_out
        if max_result_tokens is not None and not self.draws_itself:
            raise ValueError(
                "max_result_tokens is not kept where TRL's own sampling runs (vLLM, top_k, top_p and such): leave one"
                " of them out"
            )

    def rolled_out(self, *_) -> dict:
        """The rollouts of the batch in the form of TRL's `rollout_func`."""
        of_turns = {"completion_ids": [rollout.token_ids for rollout in self.rollouts], "logprobs": None}
        masks = [rollout.written for rollout in self.rollouts]
        return {"prompt_ids": [rollout.prompt_ids for rollout in self.rollouts], **of_turns, "env_mask": masks}

    @property
    def rendering(self) -> dict:
        return {"tools": self.tools or None, "chat_template": self.chat_template, **self.chat_template_kwargs}

    def _get_tool_suffix_ids(self, tool_messages):
        """TRL's own sampling asks for them."""
        if isinstance(self.processing_class, ProcessorMixin):
            return super()._get_tool_suffix_ids(tool_messages)
        rendering = {"chat_template": self.chat_template, **self.chat_template_kwargs}
        return result_ids(self.processing_class, tool_messages, **rendering)

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        if not self.draws_itself:
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        limits = {"max_result_tokens": self.max_result_tokens, "max_tool_calls": self.max_tool_calling_iterations}
        self.drawn = self.draw(prompt_ids, **({"tools": self.tools, **limits} if self.tools else {}))
        return [reply.token_ids for reply in self.drawn], None

    def _tool_call_loop(self, prompts, prompt_ids, completion_ids, completions, logprobs, images, multimodal_fields):
        if not self.draws_itself:
            return super()._tool_call_loop(
                prompts, prompt_ids, completion_ids, completions, logprobs, images, multimodal_fields
            )
        results = [
            message["content"] for reply in self.drawn for message in reply.messages if message["role"] == "tool"
        ]
        failed = sum(text.startswith("{'error'") for text in results)
        return (
            [reply.written for reply in self.drawn],
            [reply.messages for reply in self.drawn],
            completion_ids,
            None,
            len(results),
            failed,
            [[] for _ in prompts],
        )
