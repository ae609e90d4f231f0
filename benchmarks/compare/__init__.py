"""Two builds of the product in one run: the ratio of their CPU time, with its uncertainty."""
