"""The program: the one place where the parts are put together, run and taken down."""

from habitat_like.main.program import Program

__all__ = ["Program"]
