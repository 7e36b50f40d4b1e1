"""A mixture of conversations: the parts that `data_prep.conversations` draws from."""
