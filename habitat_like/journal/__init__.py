"""The journal: holds every message answered with 200 until every sink has taken it."""

from habitat_like.journal.file import JournalError, JournalFailed
from habitat_like.journal.journal import Journal, Row
from habitat_like.journal.reader import Entry

__all__ = ["Entry", "Journal", "JournalError", "JournalFailed", "Row"]
