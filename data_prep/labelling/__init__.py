"""What people label and how: the page and the journal of `data_prep.label`, and the guidelines."""
