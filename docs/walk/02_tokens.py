# %% [markdown]
# # 2. Text becomes tokens
#
# **Question.** Why can a model that writes poems not count the letters of "strawberry"? What does it see instead of
# letters?

# %%
from markupsafe import Markup
from walk import RUN, show

from data_prep.tokenizer_pages.show import tokens_of
from eval.generation.models import load_tokenizer

tokenizer = load_tokenizer(str(RUN / "tokenizer"))


def colour(text: str) -> Markup:
    """A text as the tokenizer cuts it, a colour for each token."""
    tokens = tokens_of(tokenizer, {"text": text})["tokens"]
    pieces = [Markup('<span title="{}">{}</span>').format(t["id"], t["text"] or t["bytes"]) for t in tokens]
    return Markup('<div class="tokens">{}<small>{} tokens</small></div>').format(Markup("").join(pieces), len(tokens))


TEXTS = ["strawberry", "How many r are there in strawberry?", "The people of Oakmere are proud.", "9.11 and 9.9"]
show("02_tokens", *map(colour, TEXTS))

# %% [markdown]
# ## A token is a number
#
# This is all that the model is given. Nothing in the number says which letters the token stands for.

# %%
ids = tokenizer.encode("strawberry")
print(ids, tokenizer.convert_ids_to_tokens(ids))

# %% [markdown]
# ## Where the tokens come from
#
# Byte-pair encoding begins with the 256 bytes and joins, again and again, the pair that occurs most often in the
# documents. The first pairs joined are short and frequent; the last ones are words of this world.

# %%
words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
print(len(words), "tokens")
print("first joined:", [word for word, number in words if 260 <= number < 285])
print("last joined:", [word for word, number in words][-60:-8])

# %% [markdown]
# ## What it costs to say something
#
# A text that the documents are full of takes few tokens, another many. Price, speed and the length of a context are
# counted in tokens.

# %%
for text in (
    "In which town does she live?",
    "Wie heißt die Stadt, in der sie wohnt?",
    "彼女はどの町に住んでいますか。",
):
    count = len(tokenizer.encode(text))
    print(f"{count:3} tokens for {len(text):3} characters, {len(text) / count:.1f} each: {text}")

# %% [markdown]
# **What you see on tiny.** "strawberry" is a few tokens, and none of them is an "r". Words of this world are one
# token; a Japanese sentence, which no document holds, falls into single bytes.
#
# **Change and try.**
# - Put your own name into `TEXTS`. With a space before it? In capitals? Is it the same token?
# - Add a word twice to a text. Are the tokens at the start of a line the same as in the middle?
# - A larger vocabulary makes shorter texts and rarer tokens:
#   `python -m data_prep.tokenizer compare --help` shows how to measure it.
