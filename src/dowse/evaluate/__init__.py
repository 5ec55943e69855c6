"""Step 4 of 7, evaluate: a model or a searcher → a report of how well it ranks.

`benchmarks` reads the questions and their answers, `metrics` scores a ranking against them. Neither loads a model:
what is measured comes in as lists of hits or scores.
"""
