"""Shows on a terminal how far long work is."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

#: Items between two looks at the clock: a bar must not cost more than the work.
STEP = 500


class Counted(Generic[T]):
    """Items on their way through, counted."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self.count = 0

    def __iter__(self) -> Iterator[T]:
        """Itself."""
        return self

    def __next__(self) -> T:
        """The next item, which is counted."""
        item = next(self._items)
        self.count += 1
        return item

    def more(self) -> bool:
        """Whether another item follows, which is then gone."""
        return next(self._items, None) is not None


@contextlib.contextmanager
def share_bar(what: str) -> Iterator[Callable[[float], None]]:
    """A bar of the work named ``what``, told what share of it is done; on a terminal alone."""
    if not on_terminal():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 (slow to import, seldom used)
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda share: progress.update(task, completed=share)


def on_terminal() -> bool:
    """Whether somebody looks: standard error is a terminal."""
    return sys.stderr.isatty()


def with_progress(
    items: Iterable[T],
    what: str,
    total: float | None = None,
    *,
    shown: bool = True,
    way: Callable[[T], float] | None = None,
) -> Iterable[T]:
    """``items``, with a progress bar on standard error where that is a terminal.

    ``what`` is the work's name, ``total`` the number of items, None if that isn't known. With
    ``way``, which is asked for one item in ``STEP``, ``total`` is instead the length of the work in
    any unit, and ``way`` tells how far along an item is.
    """
    return _shown(items, what, total, way) if shown and on_terminal() else items


def _shown(
    items: Iterable[T], what: str, total: float | None, way: Callable[[T], float] | None
) -> Iterator[T]:
    from rich.console import Console  # noqa: PLC0415 (slow to import, seldom used)
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns: tuple[ProgressColumn, ...]
    if way is None:
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    else:
        number = TextColumn("{task.fields[number]:,}")
        rest = (TimeElapsedColumn(), TimeRemainingColumn())
        columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), number, *rest)
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total, number=0)
        count = 0
        for count, item in enumerate(items, 1):
            yield item
            if count % STEP == 0:
                progress.update(task, completed=way(item) if way else count, number=count)
        progress.update(task, completed=total if way else count, number=count)
