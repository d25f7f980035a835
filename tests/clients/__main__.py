"""Install the clients and what analysts use; tests skip what can't be installed."""

from __future__ import annotations

import sys

from tests.clients.environments import ANALYST, CLIENTS, DATASETTE


def main() -> None:
    """Install all of them."""
    for client in (*CLIENTS.values(), ANALYST, DATASETTE):
        problem = client.install()
        sys.stdout.write(f"{client.name}: {problem or 'installed'}\n")


if __name__ == "__main__":
    main()
