"""What the stage scripts share: arguments and data (`setup`), the record of a run (`stage`), and TRL's trainers,
extended."""
