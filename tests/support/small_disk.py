"""A disk of a few megabytes (tmpfs) for a database, which a test can fill and free again."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEGABYTES = 96


class SmallDisk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Returns when not a byte is left. Space already allocated within files remains usable."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in (1024 * 1024, 4096, 1):
                try:
                    while ballast.write(b"\0" * size) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        self._ballast.unlink()


def can_be_mounted() -> bool:
    """Whether this machine lets us; that needs root, and in a container the right to mount."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        return _mount(Path(folder)) and _unmount(Path(folder))


@contextmanager
def small_disk() -> Iterator[SmallDisk]:
    """Mounted where other users (PostgreSQL's) get to; gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="connect-disk-") as home:
        Path(home).chmod(0o755)
        folder = Path(home, "disk")
        folder.mkdir()
        if not _mount(folder):
            raise PermissionError("A small disk cannot be mounted here.")
        try:
            yield SmallDisk(folder)
        finally:
            assert _unmount(folder), "files are still open on the small disk"


def _mount(folder: Path) -> bool:
    options = f"size={MEGABYTES}m,mode=0755"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    return mounted.returncode == 0


def _unmount(folder: Path) -> bool:
    return subprocess.run(["umount", folder], capture_output=True, check=False).returncode == 0
