"""TRL's RLOOTrainer, with the sampling and the training pass that `recipes.trainers.grpo` has for GRPO.

    trainer = Trainer(model=model, reward_funcs=rewards, reference=reference, args=training_args, …)

With an environment (`recipes.rewards.environments`) what it says carries no loss and no KL; TRL's RLOO has none.
TRL loads the reference model a second time, from its path alone and in its newest revision; here it is the one given.
"""

import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from trl import RLOOTrainer
from trl.trainer import rloo_trainer

from recipes.trainers.grpo import SharedPrompts
from recipes.trainers.patches import replaced


class Trainer(SharedPrompts, RLOOTrainer):
    """
    Args:
        reference: the model that the KL divergence is measured from; None with an adapter, which is switched off
            for it, and where `beta` is 0.
    """

    def __init__(self, *args, reference=None, **kwargs):
        with replaced(rloo_trainer, create_model_from_path=lambda *_, **__: reference):
            super().__init__(*args, **kwargs)

    written: torch.Tensor | None = None  # [rows, tokens] 0 where an environment speaks, of the rows that are read

    def _generate_and_score_completions(self, inputs):
        scored = super()._generate_and_score_completions(inputs)
        return scored if self.written is None else {**scored, "written": self.written}

    def _compute_loss(self, model, inputs):
        self.written = inputs.get("written")
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        logps, entropies, more = super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
        )
        if self.written is not None:
            written = pad(self.written, (0, logits_to_keep - self.written.shape[1]))
            logps = logps * written
            entropies = None if entropies is None else entropies * written
        return logps, entropies, more

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        if self.environment:
            masks = [torch.tensor(rollout.written) for rollout in self.rollouts]
            self.written = pad_sequence(masks, batch_first=True).to(self.accelerator.device)
            return [rollout.token_ids for rollout in self.rollouts]
        if not self.draws_itself:
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        return [reply.token_ids for reply in self.draw(prompt_ids)]
