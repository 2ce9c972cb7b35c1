"""What the agent needs from above, a file per need; four methods a port at most.

`gateway/composition.py` hands in the implementations.
"""
