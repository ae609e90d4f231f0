"""The process that listens: its workers, their life, and the framing of HTTP/1.1."""
