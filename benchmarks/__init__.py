"""Measures the gateway beside its peers and its limits; see README.md."""
