"""What `make demo` runs: flights that are not real, and the stations that hear them.

``air``, ``flight``, ``packets``, ``scene`` and the devices in ``receivers`` and ``neighbours`` do
no I/O: they tell what is sent at which time, from a seed. ``uploads`` is the process that sends it.
"""
