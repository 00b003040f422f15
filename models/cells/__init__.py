"""The sequence cells, one a file: what an account's earlier events leave behind for the next."""
