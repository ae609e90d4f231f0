"""What an answer says of its own cost, read from the bytes that pass."""
