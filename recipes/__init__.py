"""How a model is trained: one script a stage, one folder of YAML a model."""

import eval  # noqa: F401  (process-wide settings)
