"""Steering: what an operator can change while the gateway runs."""
