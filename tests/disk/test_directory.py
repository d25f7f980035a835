"""What commands of root make in directories that others can write to."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from habitat_like.disk import Directory

ME = (os.geteuid(), os.getegid())


def test_a_link_replaces_a_file_and_another_link(tmp_path: Path) -> None:
    (tmp_path / "name").write_text("before")
    with Directory(tmp_path) as directory:
        for target in ("/etc/one", "/etc/two"):
            directory.link("name", target)
            assert (tmp_path / "name").readlink() == Path(target)
    assert os.listdir(tmp_path) == ["name"]


def test_a_directory_gets_mode_and_owner_also_where_it_is_there(tmp_path: Path) -> None:
    with Directory(tmp_path) as directory:
        for mode in (0o750, 0o755):
            directory.make_directory("below", mode, *ME)
            assert stat.S_IMODE((tmp_path / "below").stat().st_mode) == mode


def test_no_link_is_taken_for_the_directory(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir(0o700)
    (tmp_path / "below").symlink_to("other")
    with Directory(tmp_path) as directory, pytest.raises(OSError, match="below"):
        directory.make_directory("below", 0o755, *ME)
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o700


def test_no_file_with_a_second_name_is_given_away(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("")
    with Directory(tmp_path) as directory:
        directory.give("one", *ME)
        (tmp_path / "two").hardlink_to(tmp_path / "one")
        with pytest.raises(OSError, match="another name"):
            directory.give("one", *ME)
        (tmp_path / "three").symlink_to("one")
        with pytest.raises(OSError, match="link"):
            directory.give("three", *ME)


def test_leftovers_of_killed_replacements_go_and_nothing_else(tmp_path: Path) -> None:
    for name in (".x.0123abcd", ".x.y", "x", ".xx.0123abcd"):
        (tmp_path / name).write_text("")
    with Directory(tmp_path) as directory:
        directory.remove_leftovers("x")
    assert sorted(os.listdir(tmp_path)) == [".x.y", ".xx.0123abcd", "x"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_whole_path_needs_no_right_to_the_working_directory(tmp_path: Path) -> None:
    """As for ``runuser -u habitat`` from root's home."""
    with tempfile.TemporaryDirectory() as theirs:
        os.chown(theirs, 65534, 65534)
        tmp_path.chmod(0o700)
        child = os.fork()
        if not child:
            code = 1
            try:
                os.chdir(tmp_path)
                os.setgid(65534)
                os.setuid(65534)
                with Directory(theirs) as directory:
                    code = 0 if directory.status("none") is None else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
