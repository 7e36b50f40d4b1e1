"""Two pages about tokenizers: `python -m data_prep.tokenizer show` and `compare`."""
