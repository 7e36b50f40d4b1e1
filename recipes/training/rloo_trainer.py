"""TRL's RLOOTrainer, with the sampling and the training pass that `recipes.training.grpo_trainer` has for GRPO.

    trainer = Trainer(model=model, reward_funcs=rewards, reference=reference, args=training_args, …)

TRL loads the reference model a second time, from its path alone and in its newest revision; here it is the one given.
"""

from trl import RLOOTrainer
from trl.trainer import rloo_trainer

from recipes.training.grpo_trainer import SharedPrompts
from recipes.training.patches import replaced


class Trainer(SharedPrompts, RLOOTrainer):
    """
    Args:
        reference: the model that the KL divergence is measured from; None with an adapter, which is switched off
            for it, and where `beta` is 0.
    """

    def __init__(self, *args, reference=None, **kwargs):
        with replaced(rloo_trainer, create_model_from_path=lambda *_, **__: reference):
            super().__init__(*args, **kwargs)

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        if not self.draws_itself:
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        return [reply.token_ids for reply in self.draw(prompt_ids)]
