"""What the stage scripts share: arguments and data (`setup`), the loss mask (`masks`), the watch and its stop rule
(`monitor`), the record of a run (`stage`)."""
