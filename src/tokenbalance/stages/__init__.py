"""The stages of a request, one file each; none knows another. `proxy.py` knows their order."""
