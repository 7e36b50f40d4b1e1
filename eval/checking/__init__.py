"""How `eval.verifiers` reads a reply: its answer, numbers, programs and wording, and when two of them are equal."""
