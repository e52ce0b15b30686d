"""Writing a new pipeline folder from a CSV: look at the file, suggest a spec, write it out as commented YAML.

Belongs here: guesses about data nobody has described yet. Does not: reading data for a run (sources, stages).
"""
