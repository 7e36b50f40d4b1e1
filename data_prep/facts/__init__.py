"""Questions about real facts, about invented things, and everyday requests, for a pretrained model."""
