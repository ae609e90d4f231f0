"""The product compared with others on one machine in one run: CPU, latency, memory, books."""
