"""The client's side: a request as it was received, and how it is answered."""
