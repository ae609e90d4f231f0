"""The OpenAI surface as data: which operations a caller may use, and how each is metered."""

from tokenbalance.endpoints.match import find_endpoint, is_socket, meant_path
from tokenbalance.endpoints.table import DESCRIBED, ENDPOINTS

__all__ = ["DESCRIBED", "ENDPOINTS", "find_endpoint", "is_socket", "meant_path"]
