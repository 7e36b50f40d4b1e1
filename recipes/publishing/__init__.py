"""Repositories on the Hugging Face Hub, for `recipes.push` and for training scripts that push."""
