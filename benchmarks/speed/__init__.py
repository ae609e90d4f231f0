"""The product beside others, on one machine in one run: CPU, latency, memory, and the books."""
