"""Asking a model what it knows: the parts of `data_prep.refusals`, in the order of its work. How a refusal is worded:
`phrasings`."""
