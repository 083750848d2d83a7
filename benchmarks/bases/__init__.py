"""What several experiments are built of: kinds of race with their tables, networks, pictures, test functions."""
