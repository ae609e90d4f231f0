"""What usage costs: rates, cards, bills."""
