"""What the repository holds, as git knows it: not what lies about in the work tree."""

import subprocess
from pathlib import PurePath

from tests.support.serving import ROOT


def files_called(pattern: str) -> list[str]:
    """Return the files of such a name, in any folder."""
    found = subprocess.run(
        ["git", "ls-files", "-z", "--", f":(glob)**/{pattern}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return sorted(found.split("\0")[:-1])


def folders_with(pattern: str) -> list[str]:
    """Return the folders that hold a file of such a name; the repository itself is `.`."""
    return sorted({str(PurePath(file).parent) for file in files_called(pattern)})
