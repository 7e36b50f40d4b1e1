"""What of TRL we replace, and the lines of TRL that it depends on; the replacements are in the trainers that use them.

`tests/recipes/trainers/test_trl_patches.py` fails with a sentence where TRL has changed.
"""

from recipes.trainers.patches import Patch

PPO = "trl.experimental.ppo.ppo_trainer"
RLOO = "trl.trainer.rloo_trainer"

PATCHES = [
    Patch(
        PPO,
        "PolicyAndValueWrapper",
        "self.model = PolicyAndValueWrapper(self.policy_model, self.value_model)",
        "recipes.trainers.ppo.PolicyAndCritic: the critic computes no logits",
    ),
    Patch(
        PPO,
        "Accelerator",
        "accelerator = Accelerator(gradient_accumulation_steps=args.gradient_accumulation_steps)",
        "PPOTrainer's accelerator reads bf16 from ACCELERATE_MIXED_PRECISION alone",
    ),
    Patch(
        PPO,
        "forward",
        "output, vpred_temp = forward(model, mb_query_responses, processing_class.pad_token_id)",
        "logits are computed of the responses' columns only",
    ),
    Patch(
        PPO,
        "forward",
        "logits = output.logits[:, context_length - 1 : -1]",
        "PPOTrainer cuts the responses' columns out of all; here they are all there is",
    ),
    Patch(
        PPO,
        "batch_generation",
        "query_responses, logitss = batch_generation(",
        "the length of the prompts is noted where the responses are sampled",
    ),
    Patch(
        PPO,
        "truncate_response",
        "postprocessed_response = truncate_response(",
        "the only place that sees where responses end: their lengths are logged",
    ),
    Patch(
        RLOO,
        "create_model_from_path",
        "self.ref_model = create_model_from_path(get_config_model_id(self.model.config), **model_init_kwargs)",
        "the reference model is the one given, not one that is loaded again in its newest revision",
    ),
]
