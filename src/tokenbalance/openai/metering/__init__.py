"""What a response reports about its own cost, read from the bytes that pass."""
