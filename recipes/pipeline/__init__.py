"""What `recipes.run` needs to run a step: its processes, and the time that is left."""
