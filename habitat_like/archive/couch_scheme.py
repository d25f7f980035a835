"""What ``couchdb:`` and ``couchdbs:`` in ``archive.uri`` lead to."""

from __future__ import annotations

from habitat_like.archive.base import Archive
from habitat_like.archive.couch import CouchArchive
from habitat_like.archive.couch_cluster import CouchCluster
from habitat_like.archive.couch_http import CouchLink
from habitat_like.archive.couch_months import MonthlyArchive
from habitat_like.archive.couch_uri import parse, with_password
from habitat_like.archive.months import PLACE
from habitat_like.config.archive_uri import mask
from habitat_like.config.keys import ArchiveConfig, ConfigError


class CouchScheme:
    """One database, or one for each month; see ``ArchiveClass``."""

    @staticmethod
    def from_config(config: ArchiveConfig) -> Archive:
        """The archive that the configuration names."""
        uri = with_password(parse(config), config)
        cluster = CouchCluster(uri, config.timeout)
        if PLACE in uri.database:
            return MonthlyArchive(cluster, uri.database, config.views)
        return CouchArchive(cluster, CouchLink(cluster, uri.database), config.views)

    @staticmethod
    def check(config: ArchiveConfig) -> None:
        """Refuse a URI that can't be used, and an age at which nothing could go."""
        uri = parse(config)
        if config.keep is not None and PLACE not in uri.database:
            raise ConfigError(
                f"in CouchDB whole months go: have archive.uri end in {uri.database}-{PLACE}",
                "archive.keep",
            )

    @staticmethod
    def mask(uri: str) -> str:
        """The URI as it can be shown."""
        return mask(uri)

    @staticmethod
    def file(config: ArchiveConfig) -> None:
        """None: it has no local file."""
