# %% [markdown]
# # 9. Practice: GRPO and thinking
#
# **Question.** An imitator is at most as good as its teacher, and this teacher is right 38 % of the time. How does a
# model become better than everybody who ever taught it?

# %%
from walk import RUN, read, show

from eval.report.figures import lines

log = [row for row in read("grpo/log.jsonl") if "reward" in row]
curve = {"right answers": [(row["step"], row["reward"]) for row in log]}
show("09_practice", lines("Practice", curve, "step", f"{RUN}/grpo/log.jsonl", whole=True))

# %% [markdown]
# ## Try, and look at the answer
#
# A problem has an answer that can be checked, so no person has to judge. Eight tries of the model before practice:

# %%
from walk import ask

from eval.verifiers import final_number

problem = read("world/problems/validation.jsonl")[0]
question, answer = problem["prompt"][0]["content"], problem["answer"]
print(f"{question} (right: {answer})\n")
tries = ask("honest", question, tries=8)
verdicts = [final_number(text, answer) for text in tries]
for text, verdict in zip(tries, verdicts):
    print("right" if verdict else "wrong", "|", text)

# %% [markdown]
# ## What is learned from them
#
# Each try is compared with the others of the same problem. What is better than their mean becomes likelier, token by
# token, and what is worse less likely. Nobody said which step was the mistake.

# %%
mean = sum(verdicts) / len(verdicts)
deviation = (sum((verdict - mean) ** 2 for verdict in verdicts) / len(verdicts)) ** 0.5
print(f"mean reward {mean:.2f}")
for text, verdict in zip(tries, verdicts):
    advantage = (verdict - mean) / (deviation + 1e-4)
    print(f"advantage {advantage:+.2f}: {text[-50:]!r}")

# %% [markdown]
# ## After practice

# %%
for text in ask("grpo", question, tries=8):
    print("right" if final_number(text, answer) else "wrong", "|", text)

# %% [markdown]
# **What you see on tiny.** Before, most tries forget the last division, as the teacher did. After some sixty steps of
# practice nearly all are right. Where all eight tries are right, or all wrong, the advantage is 0: nothing is learned
# from problems that are too easy or too hard.
#
# **Change and try.**
# - Take another problem (`[1]`, `[2]` …). Is there one where no try of `honest` is right?
# - Ask `grpo` something that it did not practise, a fact or a greeting. What did practice cost?
# - Thinking that checks itself: `python -m data_prep.second_tries --output_dir runs/mine/second_tries` writes lessons
#   with "Wait, another:" inside `<think>`, and a twin without. `make experiments` practises from both.
