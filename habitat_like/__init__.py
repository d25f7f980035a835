"""habitat_like: a message server with a durable SCGI gateway inside it.

``open_archive`` reads an archive from Python; see docs/analysis.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from habitat_like.analysis import ArchiveReader, open_archive

__version__ = "0.1.0"

__all__ = ["ArchiveReader", "__version__", "open_archive"]


def __getattr__(name: str) -> Any:
    """Import what reads archives on first use: the commands need not wait for it."""
    if name in ("ArchiveReader", "open_archive"):
        from habitat_like import analysis  # noqa: PLC0415 (that is the point of it)

        return getattr(analysis, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
