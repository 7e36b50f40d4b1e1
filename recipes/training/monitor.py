"""What PPO and GRPO gain by their own measure and by another, and when to stop: Goodhart's law, watched while it
happens.

In the YAML of either stage:

    monitor_datasets: [{path: runs/tiny/world/verses/validation.jsonl}]   # held-out prompts, in the training data's
        form
    monitor_steps: 4
    judge: python:data_prep.world.taste:score    # or reward:<folder or Hub id>, verifier:<name>
    stop_patience: 2                      # stop where the judge falls while the reward climbs, so many evaluations in
        a row
    max_kl: 20                            # and where the policy is further than this from its start, in nats a reply

Every `monitor_steps` the same prompts are answered with the same random numbers, at temperature 1 whatever training
explores at, and `monitor.jsonl` gets a line: the reward that is trained on, the judge's score, the KL divergence from
the start, entropy, length in tokens, the share of repeated 2-grams (each with standard error and n), and the strangest
winners: of the tenth of replies with the highest reward those that the judge likes least (without a judge: that repeat
themselves most). With `stop_patience` or `max_kl` the best model by the judge is kept beside, and the run ends when
the rule says so. The stage's model is then the best one, and also where a run comes to its own end past the best by
the same measure; the last line says what was decided and why.

How a reward that was learned is overdone: Gao, Schulman, Hilton 2022, "Scaling Laws for Reward Model
Overoptimization".
"""

import itertools
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from transformers import TrainerCallback

from eval.cli import UserError, write_jsonl
from eval.judging.scores import Scores
from recipes.training.callbacks import keep_rows
from recipes.training.setup import sharding

SURE = 1.645  # standard errors (95 %, one-sided) by which the judge must have fallen
# share of the reward's gain that is still there: a learned reward levels off, and then moves up and down by little
KEPT = 0.95
TURNS = 1_000_003  # between the seeds of two batches of an environment's turns
MEASURES = ("reward", "judge", "kl", "entropy", "length", "repeated")  # of a reply, in this order in monitor.jsonl


@dataclass
class MonitorArguments:
    """Keys of the stages that train on a reward."""

    monitor_datasets: list[dict] | None = field(
        default=None, metadata={"help": "held-out prompts, in the form of `datasets`"}
    )
    monitor_steps: int = field(default=0, metadata={"help": "steps between two looks; 0: none"})
    monitor_samples: int = field(default=4, metadata={"help": "replies a held-out prompt"})
    monitor_batch_size: int = field(default=256, metadata={"help": "replies sampled at a time"})
    judge: str | None = field(
        default=None,
        metadata={"help": "not trained on: verifier:<name>, python:<module:function>, reward:<folder or Hub id>"},
    )
    stop_patience: int = field(
        default=0,
        metadata={"help": "stop after so many looks at which the judge had fallen and the reward had not; 0: never"},
    )
    max_kl: float | None = field(
        default=None, metadata={"help": "stop beyond this KL divergence from the start, in nats a reply"}
    )

    def __post_init__(self):
        watching = self.monitor_steps > 0
        if (
            self.monitor_steps < 0
            or self.stop_patience < 0
            or min(self.monitor_samples, self.monitor_batch_size) < 1
            or (self.max_kl is not None and not self.max_kl > 0)
        ):
            raise UserError(
                "monitor_steps and stop_patience must not be negative, monitor_samples and monitor_batch_size at least"
                " 1 and max_kl above 0"
            )
        if watching != bool(self.monitor_datasets) or (
            (self.judge or self.stop_patience or self.max_kl) and not watching
        ):
            raise UserError(
                "monitor_steps and monitor_datasets belong together, and judge, stop_patience and max_kl need both"
            )
        if self.stop_patience and not self.judge:
            raise UserError("stop_patience needs a judge: what is trained on cannot tell whether it is gamed")
        if watching and sharding():
            raise UserError(
                f"monitor_steps does not run under {sharding()}, whose weights are spread: use"
                " accelerate_configs/ddp.yaml, or leave it out"
            )


def mean(values: list[float]) -> dict | None:
    """{"value", "stderr", "n"} over prompts; None where nothing could be judged."""
    from eval.estimates import accuracy

    return accuracy(values) if values else None


def mean_of_known(values: list[float | None]) -> float | None:
    """The mean of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


class Monitor(TrainerCallback):
    """Looks at the policy every so many steps; see the module's docstring.

    Args:
        rows, judge: what `recipes.training.watched.held_out` gave.
        reward: the scores that are trained on.
        reference: the model that training began from; None for a policy with an adapter, which is switched off for it.
        unfinished: what is taken off the reward of a reply that does not end (PPO's `missing_eos_penalty`).
        play: of an environment, whose turns are run for each held-out prompt (`recipes.rewards.rollouts`).
        tools: with tools: what `eval.generation.generate` takes of them, `tools` and their limits.
    """

    def __init__(
        self,
        args: MonitorArguments,
        folder: Path,
        tokenizer,
        rows: list[dict],
        judge: Scores | None,
        reward: Scores,
        reference,
        max_new_tokens: int,
        seed: int,
        unfinished: float = 0.0,
        play=None,
        **tools,
    ):
        self.args, self.folder, self.tokenizer, self.rows = args, folder, tokenizer, rows
        self.reward, self.judge, self.reference, self.unfinished = reward, judge, reference, unfinished
        self.sampling = {
            "max_new_tokens": max_new_tokens,
            "temperature": 1.0,
            "num_return_sequences": args.monitor_samples,
            "batch_size": args.monitor_batch_size,
            "seed": seed,
            **tools,
        }
        self.play = play
        self.path, self.stops = folder / "monitor.jsonl", bool(args.stop_patience or args.max_kl)
        self.looks: list[dict] = []

    # ---- Looking ----
    def look(self, policy) -> list[dict]:
        """One mapping a prompt: the means of its replies, and the replies. Every process takes its share, and gets
        all."""
        from accelerate import PartialState
        from accelerate.utils import gather_object

        rank, world = PartialState().process_index, PartialState().num_processes
        rows = self.rows[rank::world]
        repeats = self.sampling["num_return_sequences"]
        each = [row for row in rows for _ in range(repeats)]
        if self.play:
            replies = self._rollouts(policy, each)
            each = [{**row, "rollout": reply} for row, reply in zip(each, replies)]
            ids = [reply.prompt_ids for reply in replies]
        else:
            ids, replies = self._replies(policy, rows)
        scores = self._scores(policy, each, ids, replies)
        out = []
        for number, row in enumerate(rows):
            part = slice(number * repeats, (number + 1) * repeats)
            of_prompt = {name: values[part] for name, values in scores.items()}
            told = [
                {"text": reply.text, "reward": reward, "judge": judged}
                for reply, reward, judged in zip(replies[part], of_prompt["reward"], of_prompt["judge"])
            ]
            means = {name: mean_of_known(values) for name, values in of_prompt.items()}
            out.append({"prompt": row["prompt"], "means": means, "replies": told})
        return gather_object(out) if world > 1 else out

    def _replies(self, policy, rows: list[dict]) -> tuple[list, list]:
        """The ids of its prompt and the reply, of each reply."""
        from eval.generation.generate import encode, generate
        from eval.generation.tool_loop import Toolbox

        tools = self.sampling.get("tools")
        rendering = Toolbox(self.tokenizer, tools, 0, 0).rendering if tools else {}
        prompts = encode(self.tokenizer, [row["prompt"] for row in rows], **rendering)
        groups = generate(policy, self.tokenizer, prompts, **self.sampling)
        ids = [prompt for prompt, group in zip(prompts, groups) for _ in group]
        return ids, [reply for group in groups for reply in group]

    def _rollouts(self, policy, rows: list[dict]) -> list:
        """A rollout of each row in the environment; each batch of turns has random numbers of its own, the same in
        every look."""
        from eval.generation.generate import generate
        from recipes.rewards.rollouts import roll_out

        once = {**self.sampling, "num_return_sequences": 1}
        batches = itertools.count()

        def draw(prompts: list[list[int]], most: int) -> list:
            options = {**once, "max_new_tokens": most, "seed": self.sampling["seed"] + TURNS * next(batches)}
            return [group[0] for group in generate(policy, self.tokenizer, prompts, **options)]

        return roll_out(self.play, rows, draw, self.tokenizer, self.sampling["max_new_tokens"])

    def _scores(self, policy, rows: list[dict], ids: list, replies: list) -> dict[str, list]:
        """What is measured of each reply, by name; None where it cannot be judged. A row and the ids of its prompt for
        each. What tools and environments said does not count."""
        from eval.generation.divergence import repeated

        texts, tokens = [reply.text for reply in replies], [reply.token_ids for reply in replies]
        written = [reply.written for reply in replies] if any(reply.written for reply in replies) else None
        lengths = [float(sum(marks)) for marks in written] if written else [float(len(reply)) for reply in tokens]
        kl, entropy = self._divergence(policy, ids, tokens, written)
        rewards = self.reward(rows, texts)
        return {
            "reward": [self._paid(reward, reply) for reward, reply in zip(rewards, replies)],
            "judge": self.judge(rows, texts) if self.judge else [None] * len(rows),
            "kl": kl,
            "entropy": entropy,
            "length": lengths,
            "repeated": [repeated(text) for text in texts],
        }

    def _paid(self, reward: float | None, reply) -> float | None:
        """The reward, less where the reply does not end."""
        return reward if reward is None or reply.finished else reward - self.unfinished

    def _divergence(self, policy, ids: list, tokens: list, written: list | None) -> tuple[list, list]:
        """The KL divergence of each reply from the start, and its entropy."""
        from eval.generation.divergence import log_probability

        training = policy.training
        policy.eval()
        own, entropy = log_probability(policy, ids, tokens, written)
        if self.reference is not None:
            start, _ = log_probability(self.reference, ids, tokens, written)
        else:
            with policy.disable_adapter():
                start, _ = log_probability(policy, ids, tokens, written)
        policy.train(training)
        return [after - before for after, before in zip(own, start)], entropy

    def _winners(self, prompts: list[dict], count: int = 5) -> list[dict]:
        from eval.generation.divergence import repeated

        told = {
            reply["text"]: {"prompt": p["prompt"][-1]["content"], **reply}
            for p in prompts
            for reply in p["replies"]
            if reply["reward"] is not None
        }
        top = sorted(told.values(), key=lambda reply: -reply["reward"])[: max(count, len(told) // 10)]
        return sorted(top, key=lambda reply: -repeated(reply["text"]) if reply["judge"] is None else reply["judge"])[
            :count
        ]

    # ---- Deciding ----
    def _fell(self, now: dict, best: dict) -> bool:
        """Whether the judge likes this look less than the best one, prompt by prompt and beyond chance, though the
        reward is where it was or higher."""
        pairs = [(a - b) for a, b in zip(best["judged"], now["judged"]) if a is not None and b is not None]
        drop = mean(pairs)
        start, then = self.looks[0]["reward"]["value"], best["reward"]["value"]
        return (
            bool(drop)
            and drop["value"] > SURE * drop["stderr"]
            and now["reward"]["value"] >= min(then, start + KEPT * (then - start))
        )

    def best(self) -> dict | None:
        """The look that the judge liked best; without a judge the last one within max_kl."""
        most = self.args.max_kl
        within = [look for look in self.looks if most is None or look["kl"]["value"] <= most] or self.looks[:1]
        if not self.judge:
            return within[-1] if within else None
        return max((k for k in within if k["judge"]), key=lambda k: k["judge"]["value"], default=None)

    def decide(self) -> str | None:
        """Why to stop now, or None."""
        last, best = self.looks[-1], self.best()
        if self.args.max_kl is not None and last["kl"]["value"] > self.args.max_kl:
            return f"KL {last['kl']['value']:.2f} nats is beyond max_kl {self.args.max_kl:g}"
        fallen = [k["step"] for k in self.looks if best and k["step"] > best["step"] and self._fell(k, best)]
        if (
            self.args.stop_patience
            and [k["step"] for k in self.looks][-self.args.stop_patience :] == fallen[-self.args.stop_patience :]
        ):
            return (
                f"the judge fell from {best['judge']['value']:.3f} (step {best['step']}) to"
                f" {last['judge']['value']:.3f} while the reward went from {best['reward']['value']:.3f} to"
                f" {last['reward']['value']:.3f}"
            )
        return None

    # ---- As a callback ----
    def _written(self) -> list[dict]:
        lines = self.path.read_text().split("\n")  # not splitlines(), which also splits at U+2028
        return [json.loads(line) for line in lines if line]

    def _kept(self, step: int) -> Path:
        return self.folder / f"best-{step}"

    def _look_and_decide(self, model, state, control) -> None:
        policy = getattr(_unwrapped(model), "policy", _unwrapped(model))
        prompts = self.look(policy)
        means = [prompt["means"] for prompt in prompts]
        row = {"step": state.global_step}
        for name in MEASURES:
            row[name] = mean([each[name] for each in means if each[name] is not None])
        row["judged"] = [each["judge"] for each in means]
        self.looks.append(row)
        if self.stops and state.is_world_process_zero and self.best() is row:
            policy.save_pretrained(self._kept(row["step"]))
        why = self.decide() if self.stops else None
        if why:
            control.should_training_stop = True
            row["decision"] = f"stopped at step {row['step']}: {why}; kept step {self.best()['step']}"
        if state.is_world_process_zero:
            with self.path.open("a") as file:
                file.write(json.dumps(row | {"winners": self._winners(prompts)}, ensure_ascii=False) + "\n")
            told = ", ".join(
                f"{name} {row[name]['value']:.3f}" for name in ("reward", "judge", "kl", "repeated") if row[name]
            )
            print(f"  step {row['step']:4d} | {told}" + (f" | {row['decision']}" if why else ""))

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        if state.is_world_process_zero:
            keep_rows(self.path, state.global_step)
            for folder in self.folder.glob("best-*"):
                if int(folder.name.split("-")[1]) > state.global_step or not state.global_step:
                    shutil.rmtree(folder)
        from accelerate import PartialState

        PartialState().wait_for_everyone()
        self.looks = self._written() if self.path.exists() else []
        if not self.looks:
            self._look_and_decide(model, state, control)
        best = self.best() if self.stops else None
        if best and not self._kept(best["step"]).exists():
            raise UserError(
                f"{self.folder} does not hold the model of its best look (step {best['step']}), as it was begun"
                " without stop_patience and max_kl: leave them out, or choose another output_dir"
            )
        if self.looks[-1].get("decision"):  # it was killed between the decision and its end
            control.should_training_stop = True

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step % self.args.monitor_steps == 0 or state.global_step == state.max_steps:
            self._look_and_decide(model, state, control)

    def on_save(self, args, state, control, **kwargs):
        best = self.best()
        # an earlier best one may be needed until here: a killed run resumes from its last checkpoint
        if state.is_world_process_zero and best:
            for folder in self.folder.glob("best-*"):
                if folder != self._kept(best["step"]):
                    shutil.rmtree(folder)

    def keep_best(self, policy) -> None:
        """Put the best look's weights into the policy, if the rule is on and the last look was not as good."""
        best = self.best()
        if not self.stops or not best or best is self.looks[-1]:
            return
        last = self.looks[-1]
        past_its_best = self._beyond(last) or (self.judge and self._fell(last, best))
        if not past_its_best:
            return
        from accelerate import PartialState
        from transformers import AutoModelForCausalLM

        folder = str(self._kept(best["step"]))
        if hasattr(policy, "peft_config"):
            from peft import load_peft_weights, set_peft_model_state_dict

            set_peft_model_state_dict(policy, load_peft_weights(folder))
        else:
            policy.load_state_dict(AutoModelForCausalLM.from_pretrained(folder, dtype=policy.dtype).state_dict())
        if PartialState().is_main_process and not self.looks[-1].get("decision"):
            written = self._written()
            written[-1]["decision"] = f"ended at step {written[-1]['step']}, past its best; kept step {best['step']}"
            write_jsonl(self.path, written)
        print(f"the model of step {best['step']} is kept")

    def _beyond(self, look: dict) -> bool:
        return self.args.max_kl is not None and look["kl"]["value"] > self.args.max_kl


def _unwrapped(model):
    from accelerate.utils import extract_model_from_parallel

    return extract_model_from_parallel(model)
