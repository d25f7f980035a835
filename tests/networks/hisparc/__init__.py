"""Tests of the HiSPARC protocol, and of the stations that speak it.

``recorded`` holds what ``station.py2`` printed under several Pythons, with numpy and without, for
machines that have none of these: NAME-protocolN.pickle is ``station.py2 pickle N``, and NAME.json
is ``station.py2 expected``.
"""
