"""The client's side: a request as it was received, and the response to it."""
