"""Exports: archived messages in other people's formats, one file a format, all streamed.

``forms.FORMS`` has the formats; the commands, the console and the Python interface share them.
"""
