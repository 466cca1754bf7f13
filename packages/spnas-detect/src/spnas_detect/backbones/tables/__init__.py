"""Networks that no library has, from the values of their papers and repositories: a file and a table each."""
