"""Pictures and sounds as tokens: their pieces, the codebooks of the pieces, and what a model makes of them."""
