"""Load and soak: an hour near capacity, a million messages behind, more than can be taken, idlers.

`make soak`; docs/reliability.md says what it measures.
"""
