"""Experiments on a model, each a command that writes one JSON file, which the report draws.

`regurgitation` what it knows by heart · `in_context` what it learns from a prompt · `dreams` what it says unasked ·
`life` one prompt at every stage · `jagged` where it fails at what looks alike ·
`known` whether it knows that it does not know · `ways` which model when ·
`at_test_time` what it learns from a document in its context, and from a few steps of LoRA on it.

`inside` is a page: what each layer would say, where each head looks, how the next token is drawn.
"""
