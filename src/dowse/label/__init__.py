"""Step 2 of 7, label: pairs → queries with graded candidates, for the order loss of the next step."""
