"""HTTP on both sides. It must never know money, people, or what a body means."""
