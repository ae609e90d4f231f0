"""Real clients, installed from their registries, against the product; see `__main__`.

Nothing here is collected by pytest: it needs a network, Node, minutes and two gigabytes.
"""
