"""Peer servers: other frameworks serving the same network, set up as their documentation suggests, batching and tuned.

Most run in an environment of their own, so the modules here import nothing of Pricecast.
"""
