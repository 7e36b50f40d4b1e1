"""TRL's PPOTrainer, mended: saving under several processes, critic saved, max_grad_norm kept, response length logged,
resume, an end when a callback asks for it.

The KL divergence from the reference, which `kl_coef` weighs, is computed by TRL, in `PPOTrainer.train`.

And faster: logits are computed for the responses only, and nothing is kept for a next token that never comes. `python
-m recipes.benchmark` measures it.

    trainer = Trainer(checkpoint=stage.checkpoint, args=training_args, model=policy, ref_model=reference,
    reward_model=reward, value_model=critic, …)
"""

from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import TrainerCallback
from trl.experimental.ppo import PPOTrainer, ppo_trainer

from recipes.trainers.patches import environment, replaced


class Stopped(Exception):
    """A callback asked for the end of training, which PPOTrainer's loop never looks at."""


class _Responses:
    """Logits of the responses' columns; PPOTrainer cuts them out of all columns' by `[:, context_length - 1 : -1]`,
    which here is all there is."""

    def __init__(self, columns):
        self.columns = columns

    @property
    def logits(self):
        return self

    def __getitem__(self, _):
        return self.columns


class PolicyAndCritic(ppo_trainer.PolicyAndValueWrapper):
    """The critic's backbone computes no logits, and so does not take `logits_to_keep`."""

    def forward(self, logits_to_keep: int, **kwargs):
        values = self.value_model.score(self.critic_backbone(**kwargs).last_hidden_state)
        return self.policy(logits_to_keep=logits_to_keep, **kwargs), values


class Trainer(PPOTrainer):
    is_distributed_loading_by_transformers = False

    def __init__(self, *, checkpoint: Path | None, **kwargs):
        # PPOTrainer's own Accelerator reads nothing else
        precision = environment(ACCELERATE_MIXED_PRECISION="bf16" if kwargs["args"].bf16 else "no")
        with replaced(ppo_trainer, PolicyAndValueWrapper=PolicyAndCritic), precision:
            super().__init__(**kwargs)
        self.done = int(checkpoint.name.split("-")[1]) if checkpoint else 0
        if checkpoint:
            self.optimizer.load_state_dict(torch.load(checkpoint / "optimizer.pt", weights_only=True))
            self.lr_scheduler.load_state_dict(torch.load(checkpoint / "scheduler.pt", weights_only=True))
        self.args.num_total_batches -= self.done
        if self.args.num_total_batches > 0:
            self._skip_used_rows()
        torch.manual_seed(self.local_seed + self.done)
        self.lengths: list[torch.Tensor] = []
        self._add_callbacks()
        if self.args.max_grad_norm:
            self._clip_gradients(self.args.max_grad_norm)

    def _skip_used_rows(self) -> None:
        """The rows are in a fixed order that covers all episodes: a resumed run starts after those it has used."""
        rows = self.train_dataset.select(range(self.done * self.args.batch_size, len(self.train_dataset)))
        options = {"batch_size": self.args.local_batch_size, "collate_fn": self.data_collator, "drop_last": True}
        self.dataloader = self.accelerator.prepare(torch.utils.data.DataLoader(rows, **options))

    def _add_callbacks(self) -> None:
        """One that counts steps from those that are done, and one that ends training when a callback asks for it."""
        args, done = self.args, self.done

        class Steps(TrainerCallback):  # train() counts from 0 on
            def on_train_begin(self, a, state, control, **_):
                state.global_step, state.episode = done, done * args.batch_size
                state.max_steps = done + args.num_total_batches

        class Stop(TrainerCallback):
            def on_step_end(self, a, state, control, **_):
                # at the end PPOTrainer's loop saves by itself
                if control.should_training_stop and state.global_step < state.max_steps:
                    raise Stopped

        self.callback_handler.callbacks.insert(0, Steps())
        self.add_callback(Stop())

    def _clip_gradients(self, max_norm: float) -> None:
        """Before each step of the optimiser; PPOTrainer ignores `max_grad_norm`."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]

        def clip(*_) -> None:
            torch.nn.utils.clip_grad_norm_(parameters, max_norm)

        self.optimizer.optimizer.register_step_pre_hook(clip)

    def train(self):
        if self.args.num_total_batches <= 0:
            self.state.global_step = self.done
            return
        truncate, generation, context = ppo_trainer.truncate_response, ppo_trainer.batch_generation, [0]

        def recording(stop_token_id, pad_token_id, responses):
            out = truncate(stop_token_id, pad_token_id, responses)
            self.lengths.append((out != pad_token_id).sum(1).float())
            return out

        def generating(model, queries, *args):
            context[0] = queries.shape[1]
            return generation(model, queries, *args)

        def forward(model, query_responses, pad_token_id):
            mask = query_responses != pad_token_id
            inputs = {
                "input_ids": query_responses.masked_fill(~mask, 0),
                "attention_mask": mask,
                "position_ids": mask.cumsum(1) - mask.long(),
            }
            out = model(**inputs, use_cache=False, logits_to_keep=query_responses.shape[1] - context[0] + 1)
            output, *values = out if isinstance(out, tuple) else (out,)
            responses = _Responses(output.logits[:, :-1])
            return (responses, *values) if values else responses

        patches = {
            "truncate_response": recording,
            "batch_generation": generating,
            "forward": forward,
        }  # the first is the only place that sees the responses' ends
        with replaced(ppo_trainer, **patches):
            try:
                super().train()
            except Stopped:
                self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)

    def log(self, logs, start_time=None):
        lengths = self.accelerator.gather_for_metrics(torch.cat(self.lengths))
        self.lengths.clear()
        super().log({**logs, "response_length": lengths.mean().item()}, start_time)

    @contextmanager
    def _unwrapped(self):
        wrapped, self.model = self.model, self.accelerator.unwrap_model(self.model)
        self.model.config = self.policy_model.config
        try:
            yield
        finally:
            self.model = wrapped

    def create_model_card(self, *args, **kwargs):
        with self._unwrapped():
            super().create_model_card(*args, **kwargs)

    def save_model(self, output_dir=None, _internal_call=False):
        with self._unwrapped():
            super().save_model(output_dir, _internal_call)
        if _internal_call and self.is_world_process_zero():  # a checkpoint: PPOTrainer forgets the critic
            self.accelerator.unwrap_model(self.model).value_model.save_pretrained(Path(output_dir) / "value_model")
