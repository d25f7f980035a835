"""What nginx's configuration says, as ``nginx -T`` prints it. No I/O.

The grammar is nginx's: words, quoted strings, ``;`` after a directive, ``{ }`` around a block
(https://nginx.org/en/docs/beginners_guide.html#conf_structure).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_FILE = re.compile(r"^# configuration file (.*):$", re.M)
_TOKEN = re.compile(
    r"""#[^\n]*|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([;{}])|([^\s;{}"'#][^\s;{}]*)"""
)
#: Nested blocks, at most.
DEPTH = 100


class Directive(NamedTuple):
    """A directive: its words, and what is in its block."""

    words: tuple[str, ...]
    block: tuple[Directive, ...] = ()

    @property
    def name(self) -> str:
        """The first word."""
        return self.words[0]

    def all(self, name: str) -> Iterator[Directive]:
        """Every directive of this name in it, at any depth."""
        for one in self.block:
            if one.name == name:
                yield one
            yield from one.all(name)


class Server(NamedTuple):
    """A ``server`` block: where it listens, its names, where it passes requests to.

    ``listens`` are pairs of a port and whether it speaks TLS; ``passes`` are paths of sockets;
    ``file`` is where it stands.
    """

    file: str
    names: tuple[str, ...]
    listens: tuple[tuple[int, bool], ...]
    passes: frozenset[str]
    certificates: tuple[str, ...]


def files(dump: str) -> dict[str, str]:
    """The text of each file, by its path."""
    parts = _FILE.split(dump)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def servers(dump: str) -> list[Server]:
    """All servers in what ``nginx -T`` prints."""
    trees = {path: parse(text) for path, text in files(dump).items()}
    everything = Directive(("",), tuple(one for tree in trees.values() for one in tree))
    upstreams = {
        one.words[1]: {below.words[1] for below in one.all("server") if len(below.words) > 1}
        for one in everything.all("upstream")
        if len(one.words) > 1
    }
    found = []
    for path, tree in trees.items():
        for one in Directive(("",), tree).all("server"):
            if one.block:
                whole = Directive(one.words, tuple(_inlined(one.block, trees, DEPTH)))
                found.append(_server(path, whole, upstreams))
    return found


def parse(text: str) -> tuple[Directive, ...]:
    """The directives of a file; what is cut off is left out."""
    stack: list[tuple[list[str], list[Directive]]] = [([], [])]
    words: list[str] = []
    for match in _TOKEN.finditer(text):
        mark = match[0]
        if mark[0] == "#":
            continue
        if mark == ";":
            if words:
                stack[-1][1].append(Directive(tuple(words)))
            words = []
        elif mark == "{":
            stack.append((words, []))
            words = []
        elif mark == "}":
            if len(stack) > 1:
                head, below = stack.pop()
                stack[-1][1].append(Directive(tuple(head) or ("",), tuple(below)))
            words = []
        else:
            words.append(next((part for part in match.groups() if part is not None), ""))
    return tuple(stack[0][1])


def _inlined(
    block: tuple[Directive, ...], trees: Mapping[str, tuple[Directive, ...]], depth: int
) -> Iterator[Directive]:
    """The directives, with those of included files in their place."""
    for one in block:
        if one.name == "include" and len(one.words) > 1 and depth:
            pattern = one.words[1] if one.words[1][0] == "/" else f"/etc/nginx/{one.words[1]}"
            for path, tree in trees.items():
                if fnmatch.fnmatch(path, pattern):
                    yield from _inlined(tree, trees, depth - 1)
        elif one.block and depth:
            yield Directive(one.words, tuple(_inlined(one.block, trees, depth - 1)))
        else:
            yield one


def _server(path: str, server: Directive, upstreams: Mapping[str, set[str]]) -> Server:
    passes: set[str] = set()
    for one in server.all("scgi_pass"):
        target = one.words[1] if len(one.words) > 1 else ""
        passes |= {target} if target.startswith("unix:") else upstreams.get(target, set())
    listens = [_listen(one) for one in server.block if one.name == "listen"]
    names = [name for one in server.block if one.name == "server_name" for name in one.words[1:]]
    return Server(
        path,
        tuple(name for name in names if re.fullmatch(r"[\w-]+(\.[\w-]+)*", name) and name != "_"),
        tuple(dict.fromkeys(listens)) or ((80, False),),
        frozenset(target.removeprefix("unix:").rstrip(":") for target in passes),
        tuple(one.words[1] for one in server.block if one.name == "ssl_certificate"),
    )


def _listen(one: Directive) -> tuple[int, bool]:
    port = re.search(r"(?:^|:)(\d+)$", one.words[1] if len(one.words) > 1 else "")
    return int(port[1]) if port else 80, "ssl" in one.words
