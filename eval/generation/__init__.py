"""From a model and a prompt to a reply: loading, encoding, sampling and tool calls."""
