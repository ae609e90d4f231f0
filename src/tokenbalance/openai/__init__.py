"""The OpenAI surface as data: which operations a caller may use, and how each is metered."""

from tokenbalance.openai.match import find_operation, is_socket, meant_path
from tokenbalance.openai.operations import DESCRIBED, OPERATIONS

__all__ = ["DESCRIBED", "OPERATIONS", "find_operation", "is_socket", "meant_path"]
