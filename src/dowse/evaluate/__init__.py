"""Step 4 of 7, evaluate: a model or a searcher → a report of how well it ranks.

`tasks` says what a benchmark is, `catalogue` finds one by its name, `harness` ranks and measures, `suite` makes the
rows of a table and `report` a page of them. The annotated repositories have a reader and metrics of their own:
`annotated`, `annotated_metrics`, `annotated_subjects`.
"""
