"""`make machine`: a bare Debian 12 with its real systemd, on which all is done as the docs say.

The machine runs in qemu. What it is made of is Debian's packages alone; see docs/reliability.md.
"""
