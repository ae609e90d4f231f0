"""What a request may cost at most, by its fields."""
