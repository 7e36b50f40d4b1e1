"""lm-evaluation-harness: benchmarks by name (`tasks`), and the model that it evaluates (`model`)."""
