"""A plugin of tests: a data set that comes from a server which the test lets go on."""

from __future__ import annotations

import os
import time
from pathlib import Path

from harness.data import DATASETS
from harness.data.cache import scratch
from harness.data.dataset import Source, Splits
from harness.errors import DataError
from tests.data.conftest import SmallFashion, small_files


class SlowFashion(SmallFashion):
    """80 images. $SLOW is a folder: `begun` counts downloads, and `go` lets them end.

    The server is down while there is a file `down`.
    """

    name = "slow-fashion"

    @property
    def origins(self) -> tuple[Source, ...]:
        return (
            *super().origins[:1],
            Source(label="a mirror that is down", read=self._mirror, size=60_000),
            Source(label="a slow server", read=self._download, size=62_000),
        )

    def _mirror(self) -> Splits:
        raise DataError("no answer")

    def _download(self) -> Splits:
        folder = Path(os.environ["SLOW"])
        if (folder / "down").exists():
            raise DataError("out of order")
        with scratch(self.name) as place, (folder / "begun").open("a") as begun:
            for name, content in small_files().items():
                (place / name).write_bytes(content[:1000])
            begun.write(f"{os.getpid()}\n")
            begun.flush()
            while not (folder / "go").exists():
                time.sleep(0.01)
            for name, content in small_files().items():
                (place / name).write_bytes(content)
            return self.read(place)


DATASETS.register("slow-fashion")(SlowFashion())
