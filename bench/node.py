"""The function in Node.js, installed with the packages that its lock names."""

import shutil
import tempfile
from pathlib import Path

from local.emulator import SCRATCH, LocalStackError
from local.process import child

SOURCE = Path(__file__).parent / "peers" / "node"
INSTALLED = SCRATCH / "bench-node"


def install() -> None:
    """Put it where it runs, and its packages where they are missing.

    Raises:
        LocalStackError: they cannot be installed.
    """
    lock = INSTALLED / "package-lock.json"
    if not lock.is_file() or lock.read_bytes() != (SOURCE / lock.name).read_bytes():
        npm = shutil.which("npm")
        if npm is None:
            raise LocalStackError("Node.js 20 or newer, with its npm, is needed.")
        print("installing the function in Node.js into .local/bench-node …", flush=True)
        SCRATCH.mkdir(exist_ok=True)
        # Moved into place when complete, so that an install cut short is not taken for one.
        with tempfile.TemporaryDirectory(dir=SCRATCH) as staging:
            staged = Path(staging, "node")
            shutil.copytree(SOURCE, staged)
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            with child(command, folder=staged) as installing:
                if installing.wait() != 0:
                    raise LocalStackError("npm cannot install it; what it said is above.")
            if INSTALLED.exists():
                shutil.rmtree(INSTALLED)
            staged.rename(INSTALLED)
    shutil.copy(SOURCE / "index.js", INSTALLED)
