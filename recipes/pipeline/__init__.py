"""What `recipes.run` needs to run a step: what its YAML says, its processes, and the time that is left."""
