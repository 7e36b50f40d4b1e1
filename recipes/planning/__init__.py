"""What a run would need, worked out from shapes before any weight is loaded (`--dry_run` of each recipe), and a plain
loop to measure pretraining against."""
