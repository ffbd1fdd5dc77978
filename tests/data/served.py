"""A plugin of tests: a data set whose only origin is the HTTP server at $SERVED."""

from __future__ import annotations

import os

from harness.data import DATASETS
from harness.data.dataset import Source
from tests.data.conftest import SmallFashion


class ServedFashion(SmallFashion):
    """80 images."""

    name = "served-fashion"
    server = os.environ.get("SERVED", "")

    @property
    def origins(self) -> tuple[Source, ...]:
        """The server."""
        return (Source(label="a server", read=self._from_server, size=62_000),)


DATASETS.register(ServedFashion.name)(ServedFashion())
