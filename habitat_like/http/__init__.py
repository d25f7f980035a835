"""The gateway: HTTP as a station sees it, over SCGI."""

from habitat_like.http.actions import Args, InsertApplication, action
from habitat_like.http.handler import SCGIHandler
from habitat_like.http.response import Refused, Response
from habitat_like.http.server import SCGIApplication

__all__ = [
    "Args",
    "InsertApplication",
    "Refused",
    "Response",
    "SCGIApplication",
    "SCGIHandler",
    "action",
]
