"""The recipes' GRPO and PPO trainers against TRL's own: the same log-probabilities, gradients and losses,
only sooner."""

import pytest


@pytest.fixture(scope="module")
def problems():
    from datasets import Dataset

    from data_prep.problems import generated

    return Dataset.from_list(generated("apples", "train", 8, 1, 0, ""))


def make(trainer, chat_model, tokenizer, problems, folder, **settings):
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig

    from eval.verifiers import reward_function

    options = {
        "per_device_train_batch_size": 16,
        "num_generations": 4,
        "max_completion_length": 24,
        "activation_checkpointing": False,
        "max_steps": 1,
        "seed": 1,
    } | settings
    tools = {"tools": options.pop("tools")} if "tools" in options else {}
    config = GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        **options,
    )
    model = AutoModelForCausalLM.from_pretrained(chat_model)
    return trainer(
        model=model,
        reward_funcs=[reward_function("final_number")],
        args=config,
        train_dataset=problems,
        processing_class=tokenizer,
        **tools,
    )


def trainers():
    from trl import GRPOTrainer

    from recipes.trainers.grpo import Trainer

    return Trainer, GRPOTrainer


@pytest.mark.parametrize("temperature, batch_size", [(1.0, None), (0.7, None), (1.0, 5)])
def test_log_probabilities_entropies_and_gradients_are_trls(
    chat_model, tokenizer, problems, tmp_path, temperature, batch_size
):
    import torch

    ours, theirs = trainers()
    trainer = make(ours, chat_model, tokenizer, problems, tmp_path, temperature=temperature)
    assert trainer.draws_itself and trainer.shares_prompts
    generator = torch.Generator().manual_seed(0)
    ends = [1, 3, 24, 24, 7, 12, 2, 24, 9, 1, 16, 5]  # completions of all lengths, three of a prompt
    questions = [
        trainer.processing_class.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        for row in problems.select(range(4))
    ]
    width = max(map(len, questions))
    ids = torch.full((12, width + 24), tokenizer.pad_token_id)
    mask = torch.zeros(12, width + 24, dtype=torch.long)
    for row, (question, end) in enumerate(zip([q for q in questions for _ in range(3)], ends)):
        ids[row, width - len(question) : width] = torch.tensor(question)
        ids[row, width : width + end] = torch.randint(10, 400, (end,), generator=generator)
        mask[row, width - len(question) : width + end] = 1
    order = torch.randperm(12, generator=generator)  # as GRPO shuffles them
    ids, mask = ids[order], mask[order]
    counted, found = mask[:, width:], []
    for trl in (False, True):
        trainer.model.zero_grad()
        logps, entropies, _ = (theirs if trl else ours)._get_per_token_logps_and_entropies(
            trainer, trainer.model, ids, mask, 24, batch_size, True
        )
        (logps * counted).sum().backward()
        found.append(
            ((logps * counted).detach(), entropies * counted, [p.grad.clone() for p in trainer.model.parameters()])
        )
    (logps, entropies, gradients), (logps_, entropies_, gradients_) = found
    assert logps.abs().max() > 1 and entropies.max() > 1
    assert torch.allclose(logps, logps_, atol=1e-4) and torch.allclose(entropies, entropies_, atol=1e-4)
    assert all(torch.allclose(g, g_, atol=1e-3 * g_.abs().max()) for g, g_ in zip(gradients, gradients_))


def test_one_reads_a_prompt_once(chat_model, tokenizer, problems, tmp_path):
    """The tokens that go through the model in the training pass: prompts once, completions without most of their
    padding."""
    import torch

    ours, theirs = trainers()
    read = {}
    for trl in (False, True):
        trainer = make(theirs if trl else ours, chat_model, tokenizer, problems, tmp_path)
        prompts, completions = torch.full((16, 40), 20), torch.full((16, 24), 30)
        lengths = torch.tensor([3] * 12 + [24] * 4)
        counted = (torch.arange(24)[None] < lengths[:, None]).long()
        ids, mask = torch.cat([prompts, completions], 1), torch.cat([torch.ones_like(prompts), counted], 1)
        seen = []
        trainer.model.model.register_forward_pre_hook(
            lambda _, args, kwargs, seen=seen: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
        )
        trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, 24)
        read[trl] = sum(seen)
    assert read == {True: 16 * 64, False: 40 + 12 * 2 + 4 * 23}


@pytest.mark.parametrize(
    "settings, draws, shares",
    [({"top_k": 5}, False, True), ({"top_p": 0.9}, False, True), ({"activation_checkpointing": True}, True, False)],
)
def test_trls_own_code_runs_where_a_setting_asks_for_more(
    chat_model, tokenizer, problems, tmp_path, settings, draws, shares
):
    trainer = make(trainers()[0], chat_model, tokenizer, problems, tmp_path, **settings)
    assert (trainer.draws_itself, trainer.shares_prompts) == (draws, shares)
    trainer.train()
    assert trainer.state.global_step == 1


def test_the_loss_of_a_step_is_trls(chat_model, tokenizer, problems, tmp_path):
    """With the same completions, the step's loss, gradient norm and rewards are those of TRL's trainer."""
    ours, theirs = trainers()
    drawn, logs = [], []
    for trl in (False, True):

        class Trainer(theirs if trl else ours):
            def _generate_single_turn(self, prompt_ids, *args, **kwargs):
                if not drawn:
                    drawn.append(super()._generate_single_turn(prompt_ids, *args, **kwargs))
                return drawn[0]

        trainer = make(Trainer, chat_model, tokenizer, problems, tmp_path, beta=0.1, entropy_coef=0.01)
        trainer.reward_funcs = [lambda completions, **_: [float(len(c[0]["content"])) for c in completions]]
        trainer.train()
        logs.append(trainer.state.log_history[0])
    for key in ("loss", "grad_norm", "entropy", "reward", "completions/mean_length", "kl"):
        assert logs[0][key] == pytest.approx(logs[1][key], rel=1e-3, abs=1e-5), key
    assert logs[0]["grad_norm"] > 0 and logs[0]["reward"] > 0


def test_tools_run_in_the_loop_and_their_results_carry_no_loss(chat_model, tokenizer, problems, tmp_path, monkeypatch):
    """Conversations, token ids and masks are those of `eval.generation.generate`; a result is cut at its budget."""
    from eval.generation.generate import Generation

    def search(query: str) -> str:
        """Look something up.

        Args:
            query: what for
        """
        return "found"

    asked, masks = [], []

    def fake(model, tokenizer_, prompts, **options):
        asked.append(
            (
                len(prompts),
                options["num_return_sequences"],
                options["max_result_tokens"],
                options["max_tool_calls"],
                [t.__name__ for t in options["tools"]],
            )
        )
        call = {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": {"name": "search", "arguments": {"query": "x"}}}],
        }
        told = [
            call,
            {"role": "tool", "name": "search", "content": "{'error': 'no'}"},
            {"role": "assistant", "content": "The answer is 3."},
        ]
        end = tokenizer.eos_token_id
        return [
            [
                Generation("The answer is 3.", [20, end, 21, 22, 23, end], True, told, [1, 1, 0, 0, 1, 1])
                for _ in range(options["num_return_sequences"])
            ]
            for _ in prompts
        ]

    monkeypatch.setattr("recipes.trainers.grpo.generate", fake)

    class Trainer(trainers()[0]):
        def _compute_loss(self, model, inputs):
            masks.extend(inputs["tool_mask"].tolist())
            return super()._compute_loss(model, inputs)

    trainer = make(Trainer, chat_model, tokenizer, problems, tmp_path, tools=[search], max_tool_calling_iterations=2)
    trainer.max_result_tokens, seen = 7, []
    trainer.reward_funcs = [
        lambda completions, **_: seen.extend(completions) or [float(i) for i in range(len(completions))]
    ]
    trainer.train()
    assert asked == [(4, 4, 7, 2, ["search"])]
    assert masks == [[1, 1, 0, 0, 1, 1]] * 16 and [m["role"] for m in seen[0]] == ["assistant", "tool", "assistant"]
    log = trainer.state.log_history[0]
    assert (
        log["tools/call_frequency"] == 1.0
        and log["tools/failure_frequency"] == 1.0
        and log["completions/mean_length"] == 4.0
    )


def test_ppos_update_is_trls(world, chat_model, reward_model, tmp_path):
    """One update with the same random numbers: losses, KL and score are those of TRL's own PPOTrainer."""
    import torch
    from conftest import rows
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, set_seed
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    from eval.generation.models import load_tokenizer
    from recipes.trainers.ppo import Trainer

    logs, tokenizer = [], load_tokenizer(chat_model, padding_side="left")
    prompts = [
        tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        for row in rows(world / "verses/train.jsonl")[:16]
    ]
    for trainer, options in ((PPOTrainer, {}), (Trainer, {"checkpoint": None})):
        set_seed(0)
        both = {
            "per_device_train_batch_size": 8,
            "total_episodes": 16,
            "response_length": 12,
            "stop_token": "eos",
            "num_sample_generations": 0,
            "learning_rate": 1e-4,
            "max_grad_norm": None,
        }
        config = PPOConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            report_to="none",
            save_strategy="no",
            seed=0,
            temperature=0.7,
            **both,
        )
        models = {name: AutoModelForCausalLM.from_pretrained(chat_model) for name in ("model", "ref_model")}
        models |= {
            name: AutoModelForSequenceClassification.from_pretrained(reward_model, num_labels=1)
            for name in ("reward_model", "value_model")
        }
        made = trainer(
            args=config,
            processing_class=tokenizer,
            train_dataset=Dataset.from_dict({"input_ids": prompts}),
            **models,
            **options,
        )
        made.dataloader = torch.utils.data.DataLoader(
            made.train_dataset, batch_size=8, collate_fn=made.data_collator
        )  # the same order
        torch.manual_seed(1)
        made.train()
        logs.append([log for log in made.state.log_history if "objective/kl" in log])
    assert len(logs[0]) == len(logs[1]) == 2
    for theirs, ours in zip(*logs):
        for key in (
            "objective/kl",
            "objective/entropy",
            "objective/scores",
            "policy/approxkl_avg",
            "loss/policy_avg",
            "loss/value_avg",
            "policy/entropy_avg",
            "val/ratio",
        ):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-3, abs=1e-5), key
    assert logs[0][1]["objective/kl"] != 0


@pytest.mark.parametrize("bf16, precision", [(True, "bf16"), (False, "no")])
def test_ppo_trains_in_the_precision_it_is_told(chat_model, reward_model, tmp_path, bf16, precision):
    """TRL's own takes it from the environment alone, and so trains in float32 whatever `bf16` says."""
    from accelerate.state import AcceleratorState
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from trl.experimental.ppo import PPOConfig

    from eval.generation.models import load_tokenizer
    from recipes.trainers.ppo import Trainer

    models = {name: AutoModelForCausalLM.from_pretrained(chat_model) for name in ("model", "ref_model")}
    models |= {
        name: AutoModelForSequenceClassification.from_pretrained(reward_model, num_labels=1)
        for name in ("reward_model", "value_model")
    }
    config = PPOConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=bf16,
        report_to="none",
        per_device_train_batch_size=2,
        total_episodes=2,
    )
    rows = Dataset.from_dict({"input_ids": [[5, 6], [7, 8]]})
    AcceleratorState._reset_state()
    made = Trainer(
        checkpoint=None,
        args=config,
        processing_class=load_tokenizer(chat_model, padding_side="left"),
        train_dataset=rows,
        **models,
    )
    mixed_precision = made.accelerator.mixed_precision  # of a state that all Accelerators of a process share
    AcceleratorState._reset_state()
    assert mixed_precision == precision
