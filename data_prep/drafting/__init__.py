"""Drafts of replies that people edit: the prompts, filters and files of `data_prep.synthesize`."""
