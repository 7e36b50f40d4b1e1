"""What all of `eval` uses: messages, documents, progress of a step, and the guard of our web pages."""
