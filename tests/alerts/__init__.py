"""What people are told of by themselves."""
