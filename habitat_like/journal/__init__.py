"""The journal: what was answered 200 is in it, until every sink has taken it."""

from habitat_like.journal.file import JournalError, JournalFailed
from habitat_like.journal.journal import Entry, Journal, Row

__all__ = ["Entry", "Journal", "JournalError", "JournalFailed", "Row"]
