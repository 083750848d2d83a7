"""Numbers from rows: tables, intervals, comparisons, pictures."""
