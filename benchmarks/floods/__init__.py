"""What crowds and attackers cost everybody else: a second user's latency during each of them."""
