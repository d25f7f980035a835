"""The program: where the parts are assembled, run and shut down."""

from habitat_like.main.program import Program

__all__ = ["Program"]
