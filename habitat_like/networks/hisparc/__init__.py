"""The network of cosmic-ray stations that upload in the HiSPARC protocol."""
