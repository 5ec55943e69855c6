"""Step 6 of 7, search: a query → hits, by lexical and dense candidates and the fused evidence for each."""
