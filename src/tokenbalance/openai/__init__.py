"""The OpenAI surface as data: which operations a caller may use, and how each is metered."""

from tokenbalance.openai.match import SURFACE, Surface, find_operation, is_socket, meant_path
from tokenbalance.openai.operations import OPERATIONS

__all__ = ["OPERATIONS", "SURFACE", "Surface", "find_operation", "is_socket", "meant_path"]
