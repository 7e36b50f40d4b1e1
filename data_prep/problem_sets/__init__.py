"""Practice problems: the generators, and what the published sets become; `data_prep.problems` writes them."""
