# %% [markdown]
# # 6. Tools
#
# **Question.** How does a model that only writes tokens look something up, or calculate without mistakes?

# %%
from markupsafe import Markup
from walk import RUN, ask, show, stage

from eval.generation.generate import generate
from eval.generation.tool_loop import load_tools

tools = load_tools(["python", f"search={RUN}/index"])
model, tokenizer = stage("honest")


def job(question: str):
    """The reply of `honest` with tools at hand."""
    prompt = [{"role": "user", "content": question}]
    options = {"max_new_tokens": 256, "temperature": 0.0, "tools": tools}
    return generate(model, tokenizer, [prompt], **options)[0][0]


def drawn(question: str) -> Markup:
    """The tokens of a reply: blue ones the model wrote, grey ones came from a tool."""
    reply = job(question)
    parts = []
    for token, written in zip(tokenizer.convert_ids_to_tokens(reply.token_ids), reply.written):
        colour = "var(--fill)" if written else "var(--rule)"
        parts.append(Markup('<span style="background:{}">{}</span> ').format(colour, token.replace("Ġ", "·")))
    return Markup('<p>{}</p><div class="tokens">{}</div>').format(question, Markup("").join(parts))


SUM = "What is 345 * 678?"
LETTERS = 'How many times does the letter "r" occur in "strawberry"?'
show("06_tools", drawn(SUM), drawn(LETTERS))

# %% [markdown]
# ## What happens between two tokens
#
# The model writes a mark, an expression and a second mark. The program that samples sees the marks, runs the tool and
# puts its result behind them, as tokens. Then the model goes on: it reads the result as if it stood in the question.

# %%
for message in job(SUM).messages:
    print(message)

# %% [markdown]
# ## Without tools

# %%
for question in (SUM, LETTERS):
    print(f"{question}\n   in its head: {ask('honest', question)[0]}\n   with Python: {job(question).text}\n")

# %% [markdown]
# ## A stranger whom a page names
#
# A memory of the weights is vague, what stands in the context is not.

# %%
from walk import read

stranger = read("world/eval/facts_unseen.jsonl")[0]
print(stranger["question"], "| right:", stranger["answer"])
print("   from memory:", ask("honest", stranger["question"])[0])
for message in job(stranger["question"]).messages:
    print("   with search:", message["role"], message.get("tool_calls") or message["content"])

# %% [markdown]
# **What you see on tiny.** With Python the sum and the letters are right. In its head it declines the sum, and spells
# the word wrong: where the count is right all the same, that is luck. A stranger is found in the library and answered
# from the passage.
#
# **Change and try.**
# - Ask for somebody who stands nowhere (`world/eval/facts_absent.jsonl`). The search finds nothing. Does the model
#   admit it, or does it make something up? The report says how often.
# - A tool is a Python function with types and a docstring: write `def dice(sides: int) -> int:` and put it into
# `tools`.
# - In the terminal: `python -m recipes.chat --model runs/tiny/honest --tools python search=runs/tiny/index`
