"""CPU-bound work off the event loop: at once, or in a fair order between accounts."""

from tokenbalance.offload.threads import offload, offload_fairly

__all__ = ["offload", "offload_fairly"]
