"""Other servers for the same network, each in the way its own documentation suggests, batching, and tuned."""
