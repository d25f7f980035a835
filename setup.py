"""The build: everything about the package stands in pyproject.toml, but for the files of etc/."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent


class BuildWithFiles(build_py):
    """Takes etc/ along, from which ``habitat setup`` writes units, site and configuration."""

    def run(self) -> None:
        """Copy it beside the modules; an editable installation has it in the checkout."""
        super().run()
        if not self.editable_mode:
            shutil.copytree(
                HERE / "etc", Path(self.build_lib) / "habitat_like" / "etc", dirs_exist_ok=True
            )


setup(cmdclass={"build_py": BuildWithFiles})
