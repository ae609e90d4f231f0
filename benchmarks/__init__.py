"""Commands that load and break the product, and say what they saw."""
