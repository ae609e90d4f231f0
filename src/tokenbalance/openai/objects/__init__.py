"""What requests and answers name of what the upstream keeps."""
