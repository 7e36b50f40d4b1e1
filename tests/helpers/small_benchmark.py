"""`recipes.benchmark` with a peak that is measured in a moment, on small matrices."""

from recipes import benchmark
from recipes.planning import benchmark_pretrain


def main(argv: list[str]) -> None:
    benchmark_pretrain.SIZE, benchmark_pretrain.PEAK_SECONDS = 128, 0.1
    benchmark.main(argv)
