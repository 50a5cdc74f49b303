"""Where examples come from, what is wrong with them, and in which order they are seen."""
