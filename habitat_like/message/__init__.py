"""Messages: what a station sends, the document it becomes, and the types there are. No I/O."""

from habitat_like.config.imports import import_path
from habitat_like.message.message import (
    HASH_BYTES,
    InvalidMessage,
    Listener,
    Message,
    check_type_name,
    from_document,
    type_of,
)
from habitat_like.message.types import (
    LISTENER_INFO,
    LISTENER_TELEM,
    RECEIVED_TELEM,
    SERVER_TYPES,
    STATION_TYPES,
    Degrees90,
    Degrees180,
    ListenerInfo,
    ListenerTelem,
    MessageType,
    Registry,
    Scalar,
    TimeOfDay,
    check_received_telem,
    load_types,
    refuse_repeated_keys,
)
from habitat_like.times import MAX_TIME

__all__ = [
    "HASH_BYTES",
    "LISTENER_INFO",
    "LISTENER_TELEM",
    "MAX_TIME",
    "RECEIVED_TELEM",
    "SERVER_TYPES",
    "STATION_TYPES",
    "Degrees90",
    "Degrees180",
    "InvalidMessage",
    "Listener",
    "ListenerInfo",
    "ListenerTelem",
    "Message",
    "MessageType",
    "Registry",
    "Scalar",
    "TimeOfDay",
    "check_received_telem",
    "check_type_name",
    "from_document",
    "import_path",
    "load_types",
    "refuse_repeated_keys",
    "type_of",
]
