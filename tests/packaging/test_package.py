"""The package as `make deb` builds it, with the libraries of this environment."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from habitat_like import __version__
from habitat_like.cli import COMMANDS
from tests.support.docs import text
from tests.support.net import ROOT, program
from tools import package
from tools.setup import Problem

SCRIPTS = ("postinst", "prerm", "postrm", "rtupdate")


def pinned() -> list[str]:
    """The names of the libraries of a release."""
    return re.findall(r"^([a-z][\w-]*)==", text("requirements.txt"), re.M)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package; what it packs does not come from the index, so no network is needed."""
    program("dh")
    program("dpkg-buildpackage")
    version = ["/usr/bin/python3", "-c", "import sys; print(sys.version_info[:2])"]
    done = subprocess.run(version, capture_output=True, text=True, check=False)
    if done.stdout.strip() != str(sys.version_info[:2]):
        pytest.skip("the system's python3 is another one, which can't use these libraries")
    directory = tmp_path_factory.mktemp("package")
    source = directory / "habitat-like"
    package.copy_tree(source)
    for name in pinned():
        for path in importlib.metadata.files(name) or ():
            if path.parts[0] != ".." and "__pycache__" not in path.parts:
                to = source / "libraries" / path
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path.locate(), to)
    # Compressed no better than it must be.
    rules = source / "debian" / "rules"
    rules.write_text(rules.read_text().replace("-Zxz", "-Znone"))
    return package.pack(source, directory / "log")


@pytest.fixture(scope="module")
def unpacked(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the package."""
    place = tmp_path_factory.mktemp("root")
    subprocess.run(["dpkg-deb", "--raw-extract", built, place], check=True)
    return place


def test_every_file_is_root_s_and_no_program_can_be_changed_by_others(built: Path) -> None:
    listed = subprocess.run(
        ["dpkg-deb", "--contents", built], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert len(listed) > 500
    for line in listed:
        mode, owner, *_ = line.split()
        assert owner == "root/root", line
        assert mode in {"drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x", "lrwxrwxrwx"}, line


def test_the_program_runs_from_the_package(unpacked: Path) -> None:
    command = unpacked / "usr" / "bin" / "habitat"
    assert command.is_symlink()
    assert command.read_text().startswith("#!/usr/bin/python3\n")
    environ = {"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [command, "--version"], capture_output=True, text=True, env=environ, check=False
    )
    assert done.stdout == f"habitat {__version__}\n", done.stderr


def test_it_brings_its_files_to_their_places(unpacked: Path) -> None:
    conffiles = (unpacked / "DEBIAN" / "conffiles").read_text().split()
    assert set(conffiles) == {"/etc/habitat/config.yml", "/etc/logrotate.d/habitat"}
    assert (unpacked / "etc/habitat/config.yml").read_text() == text("etc/config.yml")
    assert not list(unpacked.rglob("__pycache__"))
    assert not (unpacked / "etc" / "nginx").exists()  # that is for `habitat setup`
    # There `habitat setup` looks for them.
    library = unpacked / "usr" / "lib" / "habitat-like"
    assert os.readlink(library / "etc") == "../../share/habitat-like"
    for path in (ROOT / "etc").rglob("*"):
        assert (library / "etc" / path.relative_to(ROOT / "etc")).exists(), path


def test_its_units_are_those_of_etc_with_its_own_program(unpacked: Path) -> None:
    names = set()
    for path in (unpacked / "usr/lib/systemd/system").iterdir():
        names.add(path.name)
        source = text(f"etc/systemd/{path.name}")
        assert path.read_text() == source.replace("/opt/habitat/bin/habitat", "/usr/bin/habitat")
    assert names == {path.name for path in (ROOT / "etc" / "systemd").iterdir()}


def test_nothing_is_enabled_or_started_by_its_scripts(unpacked: Path) -> None:
    asked = set()
    for name in ("postinst", "prerm", "postrm"):
        said = (unpacked / "DEBIAN" / name).read_text()
        assert "#DEBHELPER#" not in said
        code = re.sub(r'(?m)"[^"\n]*"|#.*$', "", said)
        asked |= set(re.findall(r"(?:systemctl|deb-systemd-invoke) ([\w-]+)", code))
    assert asked == {"daemon-reload", "list-units", "stop", "try-restart", "try-reload-or-restart"}


def test_there_is_a_manual_page_for_each_command(unpacked: Path) -> None:
    pages = {path.name for path in (unpacked / "usr/share/man/man1").iterdir()}
    assert pages == {"habitat.1.gz", *(f"habitat-{name}.1.gz" for name in COMMANDS)}


@pytest.mark.parametrize(
    "path",
    [
        "bash-completion/completions/habitat",
        "zsh/vendor-completions/_habitat",
        "fish/vendor_completions.d/habitat.fish",
    ],
)
def test_shells_can_complete(unpacked: Path, path: str) -> None:
    assert "_HABITAT_COMPLETE=" in (unpacked / "usr/share" / path).read_text()


@pytest.mark.parametrize("name", SCRIPTS)
def test_its_scripts_are_such_as_a_shell_takes(name: str) -> None:
    path = ROOT / "debian" / f"habitat-like.{name}"
    assert path.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", path], check=True)
    checker = shutil.which("shellcheck")
    if checker is not None:
        done = subprocess.run([checker, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_its_version_is_the_program_s() -> None:
    first = text("debian/changelog").splitlines()[0]
    assert first.startswith(f"habitat-like ({__version__}) ")


def test_it_depends_on_the_pythons_that_it_has_libraries_for() -> None:
    control = text("debian/control")
    assert f"python3 (>= {package.PYTHONS[0]})" in control
    major, minor = package.PYTHONS[-1].split(".")
    assert f"python3 (<< {major}.{int(minor) + 1})" in control
    for python in package.PYTHONS:
        assert f"Python :: {python}" in text("pyproject.toml")


def test_each_library_s_licence_is_told() -> None:
    said = text("debian/copyright").lower()
    for name in pinned():
        assert f"libraries/{name.replace('-', '_').removesuffix('_py')}" in said, name


def test_libraries_for_several_pythons_fit_into_one_tree(tmp_path: Path) -> None:
    for python in ("311", "312"):
        directory = tmp_path / python / "fast"
        directory.mkdir(parents=True)
        (directory / "__init__.py").write_text("same = True\n")
        (directory / f"core.cpython-{python}-x86_64-linux-gnu.so").write_text(python)
        info = tmp_path / python / "fast-1.dist-info"
        info.mkdir()
        (info / "RECORD").write_text(python)
        package.merge(tmp_path / python, tmp_path / "both")
    assert len(list((tmp_path / "both" / "fast").iterdir())) == 3


def test_libraries_that_differ_between_pythons_are_not_packed(tmp_path: Path) -> None:
    for python in ("311", "312"):
        (tmp_path / python).mkdir()
        (tmp_path / python / "plain.py").write_text(f"python = {python}\n")
    package.merge(tmp_path / "311", tmp_path / "both")
    with pytest.raises(Problem, match=r"plain\.py is not the same"):
        package.merge(tmp_path / "312", tmp_path / "both")
