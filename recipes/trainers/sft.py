"""TRL's SFTTrainer for packed rows (`recipes.training.packing`): the processes of a step read about as many tokens.

    trainer = Trainer(model=model, args=training_args, train_dataset=rows, …)

`recipes.sft` takes it with `pack_rows: true`.
"""

from trl import SFTTrainer

from recipes.training.packing import EvenShares


class Trainer(SFTTrainer):
    def _get_train_sampler(self, train_dataset=None):
        if self.args.train_sampling_strategy != "random":
            return super()._get_train_sampler(train_dataset)
        rows = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(tokens) for tokens in rows["input_ids"]]
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return EvenShares(lengths, self.args.train_batch_size, self.args.world_size, seed)
