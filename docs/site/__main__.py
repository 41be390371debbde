"""`./run docs [folder]`: builds the site with warnings as errors, and puts it where a server finds it.

The site replaces the old one only if the build succeeds.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from sphinx.cmd.build import build_main

from . import source

HERE: Final = Path(__file__).parent
SITE: Final = source.REPOSITORY / "app" / "site"


def build(target: Path) -> int:
    """Build the site into `target`, and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        pages, made = Path(folder, "pages"), Path(folder, "site")
        source.write(pages)
        strict = ["--fail-on-warning", "--keep-going", "--quiet", "--fresh-env"]
        places = ["--conf-dir", str(HERE), "--doctree-dir", str(Path(folder, "trees")), str(pages), str(made)]
        code = build_main([*strict, "--builder", "dirhtml", *places])
        if code == 0:
            _publish(made, target)
    return code


def _publish(made: Path, target: Path) -> None:
    (made / ".buildinfo").unlink(missing_ok=True)
    (made / "objects.inv").unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(made, target)


def main() -> int:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else SITE
    code = build(target)
    if code == 0:
        print(f"belfry: the documentation is in {target}; a running server shows it at /docs/")
    return code


if __name__ == "__main__":
    sys.exit(main())
