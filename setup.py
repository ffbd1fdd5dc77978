"""Puts the specs into the wheel; all else about the package is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithSpecs(build_py):
    """`experiments/` becomes `harness/experiments/`; an editable install uses the checkout's."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            specs = Path(self.build_lib) / "harness" / "experiments"
            shutil.rmtree(specs, ignore_errors=True)  # of an earlier build
            shutil.copytree("experiments", specs)


setup(cmdclass={"build_py": BuildWithSpecs})
