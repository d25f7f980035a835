"""Tests of the HiSPARC protocol, and of the stations that speak it."""
