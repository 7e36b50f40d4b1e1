"""What several commands use: data sources, streamed rows, n-grams, resumable work and its progress."""
