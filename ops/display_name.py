"""Prints the display name in the JSON file of an alert policy or dashboard.

    python3 -m ops.display_name FILE

It needs the standard library only, so that `./deploy.sh alerts` and `./deploy.sh delete` work without
a virtual environment.
"""

import argparse
import json
import sys
from pathlib import Path


def main() -> None:
    """Write the name to stdout."""
    parser = argparse.ArgumentParser(prog="python3 -m ops.display_name")
    parser.add_argument("file", type=Path)
    name: str = json.loads(parser.parse_args().file.read_text(encoding="utf-8"))["displayName"]
    sys.stdout.buffer.write(f"{name}\n".encode())  # UTF-8 whatever the locale


if __name__ == "__main__":
    main()
