"""Pictures and melodies of the invented world, cut into pieces that are tokens."""
