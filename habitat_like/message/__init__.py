"""Messages: what a station sends, the document it becomes, and the types there are. No I/O."""

from habitat_like.message.message import (
    InvalidMessage,
    Listener,
    Message,
    check_type_name,
    from_document,
    type_of,
)
from habitat_like.message.types import MessageType, Registry, load_types

__all__ = [
    "InvalidMessage",
    "Listener",
    "Message",
    "MessageType",
    "Registry",
    "check_type_name",
    "from_document",
    "load_types",
    "type_of",
]
