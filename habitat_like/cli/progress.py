"""Shows on a terminal how far long work is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

#: Items between two looks at the clock: a bar must not cost more than the work.
STEP = 500


def with_progress(
    items: Iterable[T], what: str, total: int | None = None, *, shown: bool = True
) -> Iterable[T]:
    """``items``, with a progress bar on standard error where that is a terminal.

    ``what`` is the work's name, ``total`` the number of items, None if that isn't known.
    """
    return _shown(items, what, total) if shown and sys.stderr.isatty() else items


def _shown(items: Iterable[T], what: str, total: int | None) -> Iterator[T]:
    from rich.console import Console  # noqa: PLC0415 (slow to import, seldom used)
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        count = 0
        for count, item in enumerate(items, 1):
            yield item
            if count % STEP == 0:
                progress.update(task, completed=count)
        progress.update(task, completed=count)
