"""The servers that the gateway is compared with; each does the work of ``work.py``."""
