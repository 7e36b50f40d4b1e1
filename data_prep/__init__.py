"""What the model reads: crawl, tokenizer, tokens, conversations, preferences, problems."""

import eval  # noqa: F401  (process-wide settings)
