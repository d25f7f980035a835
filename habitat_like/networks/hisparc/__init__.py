"""Uploads of cosmic-ray stations in the HiSPARC protocol: the action ``/upload``.

An addition on top of ``habitat_like.http``: it is found there as an action by its dotted path, and
only when ``hisparc.station_list`` is set. Nothing but ``main``, ``wsgi`` and ``cli`` imports it.
"""
