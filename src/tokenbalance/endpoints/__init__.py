"""The OpenAI surface as data: which operations a caller may use, and how each is metered."""

from tokenbalance.endpoints.match import find_endpoint
from tokenbalance.endpoints.table import ENDPOINTS

__all__ = ["ENDPOINTS", "find_endpoint"]
