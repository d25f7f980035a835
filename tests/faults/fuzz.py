"""``python -m tests.faults.fuzz TARGET RUNS SEED``: fuzz one target in this process.

Coverage-guided with atheris where that is installed and RUNS are not few, else with mutations of
the corpus. Prints the number of inputs tried, and fails with the input that broke a promise.
"""

from __future__ import annotations

import importlib.util
import random
import sys
import tempfile
import time

from tests.faults.mutate import mutate

#: The longest input, in bytes.
LONGEST = 6000
#: Seconds that one input may take.
TIMEOUT = 5
#: Fewer inputs than that are not worth the time that it takes to make the code tell its coverage.
FEW = 5000


def is_guided() -> bool:
    """Whether atheris is there."""
    return importlib.util.find_spec("atheris") is not None


def guided(target: str, runs: int, seed: int) -> None:
    """Fuzz with libFuzzer, which ends the process."""
    import atheris  # noqa: PLC0415 (not installed everywhere)

    with atheris.instrument_imports(include=["habitat_like"]):
        from tests.faults import targets  # noqa: PLC0415 (its imports are instrumented)

    found = tempfile.mkdtemp(prefix="hab-corpus-")
    options = [f"-runs={runs}", f"-seed={seed}", f"-max_len={LONGEST}", f"-timeout={TIMEOUT}"]
    options += [f"-artifact_prefix={found}/", "-rss_limit_mb=2048", "-verbosity=0"]
    corpus = [found, str(targets.CORPUS / target)]
    atheris.Setup(["fuzz", *options, *corpus], targets.TARGETS[target])
    atheris.Fuzz()


def unguided(target: str, runs: int, seed: int) -> None:
    """Fuzz with mutations."""
    from tests.faults import targets  # noqa: PLC0415 (see guided)

    rng = random.Random(f"{target}/{seed}")
    corpus = targets.corpus(target)
    for _ in range(runs):
        data = mutate(rng, corpus)[:LONGEST]
        begin = time.monotonic()
        try:
            targets.TARGETS[target](data)
        except BaseException:
            sys.stderr.write(f"{target} fails for {data!r}\n")
            raise
        assert time.monotonic() - begin < TIMEOUT, f"{target} hangs for {data!r}"


if __name__ == "__main__":
    name, count, chance = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    (guided if is_guided() and count >= FEW else unguided)(name, count, chance)
