"""A process whose output is collected while it runs."""

from __future__ import annotations

import subprocess
import threading

from tests.waiting import patient


class Printing:
    """`lines` are what `process` has printed so far. The process needs `stdout=PIPE` and `text=True`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_printed(self, seconds: float = 60) -> None:
        """Wait for the end of the output."""
        self._reader.join(patient(seconds))

    def close(self) -> None:
        self.wait_printed()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _collect(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))
