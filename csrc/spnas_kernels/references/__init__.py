"""Plain-PyTorch implementations of the operators: slow, short, and right."""
