"""What a request may cost at most, by what it asks for."""
