"""What counts as right: verifiers, sampling, benchmarks and the report.

Imports run one way, recipes → data_prep → eval, so this is the first of our modules that any command
loads: process-wide settings stand here, and must be set before torch is imported.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning OpenMP threads cost up to 18 × on shared cores
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # data loaders fork
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # PPOTrainer lives in trl.experimental

from eval.shared.moved import install  # noqa: E402  (after the settings)

install()
