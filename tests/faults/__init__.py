"""The fault campaign: stations that retry, faults on a seeded schedule, and a judge.

``python -m tests.faults`` (or ``make faults``) runs it; test_faults.py runs a short cut.
"""
