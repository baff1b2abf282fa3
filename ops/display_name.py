"""Reads and renames the files of alert policies, metrics and the dashboard.

    python3 -m ops.monitoring_files display-name FILE
    python3 -m ops.monitoring_files rename FILE NAME

`display-name` prints the display name of a policy or dashboard. `rename` prints a copy of the file
that watches the function NAME instead of get-call. Both need the standard library only, so that
`./deploy.sh alerts` and `./deploy.sh delete` work without a virtual environment.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

DEFAULT_NAME = "get-call"  # in the files as they are in the repository


def display_name(path: Path) -> str:
    """Return the display name in the JSON file of a policy or dashboard."""
    name = json.loads(path.read_text(encoding="utf-8"))["displayName"]
    if not isinstance(name, str):
        raise TypeError(f"{path}: displayName is not a string")
    return name


def renamed(path: Path, name: str) -> str:
    """Return the text of a file in which `name` takes the place of get-call.

    Metrics are YAML, which the standard library cannot parse, so their text is changed. A function's
    name consists of letters, digits and hyphens, none of which YAML needs quoted.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".json":
        return text.replace(DEFAULT_NAME, name)
    return json.dumps(_renamed(json.loads(text), name), ensure_ascii=False, indent=2) + "\n"


def _renamed(node: Any, name: str) -> Any:
    if isinstance(node, str):
        return node.replace(DEFAULT_NAME, name)
    if isinstance(node, list):
        return [_renamed(item, name) for item in node]
    if isinstance(node, dict):
        return {key: _renamed(value, name) for key, value in node.items()}
    return node


def main(arguments: "list[str] | None" = None) -> None:
    """Write the answer to stdout."""
    parser = argparse.ArgumentParser(prog="python3 -m ops.monitoring_files")
    actions = parser.add_subparsers(dest="action", required=True)
    for action in ("display-name", "rename"):
        subparser = actions.add_parser(action)
        subparser.add_argument("file", type=Path)
        if action == "rename":
            subparser.add_argument("name")
    options = parser.parse_args(arguments)
    if options.action == "rename":
        answer = renamed(options.file, options.name)
    else:
        answer = display_name(options.file) + "\n"
    sys.stdout.buffer.write(answer.encode())  # UTF-8 whatever the locale


if __name__ == "__main__":
    main()
