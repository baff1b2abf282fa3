"""`make examples`: the sample calls, as replies, in openapi.yaml and README.md.

Where an example stands, and its name and summary, is the page's matter. What is replaced is the reply.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import yaml

from local.seed import sample_calls
from ops.openapi import OPENAPI, published_call

README = OPENAPI.parent / "README.md"
STORAGE = "https://storage.googleapis.com/thinnestai-recordings"
README_LINK = (
    "http://127.0.0.1:35249/thinnestai-recordings/recordings/2026/03/25/call-77.wav?X-Goog-…"
)
README_CALL = 77
LONG_CALL, TURNS_SHOWN = 86, 3
LONGEST_LINE = 100

_README_REPLY = re.compile(r"(?<=```json\n).*?(?=```)", re.DOTALL)
_YAML_CALL = re.compile(r"(?<=      value:\n)        id: (\d+)\n(?:        .*\n)+")


class _Yaml(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Indent a list below its key, as the rest of the file does."""
        super().increase_indent(flow, indentless=False)


def example(call_id: int) -> dict[str, Any]:
    """Return the reply that openapi.yaml shows for a sample call."""
    stored = sample_calls()[call_id]
    call = published_call(stored, _link(stored))
    if call_id == LONG_CALL:
        call["transcript"] = call["transcript"][:TURNS_SHOWN]
    return call


def with_examples(page: str) -> str:
    """Return openapi.yaml with the reply of each sample call that it shows."""

    def written(found: re.Match[str]) -> str:
        text = yaml.dump(
            example(int(found[1])),
            Dumper=_Yaml,
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=None,  # an object of single values is on one line
            width=LONGEST_LINE - 8,
        )
        return re.sub("^", " " * 8, text.rstrip("\n"), flags=re.MULTILINE) + "\n"

    return _YAML_CALL.sub(written, page)


def with_reply(page: str) -> str:
    """Return README.md with the reply that it shows."""
    reply = indented(published_call(sample_calls()[README_CALL], README_LINK))
    return _README_REPLY.sub(lambda _: f"{reply}\n", page, count=1)


def indented(value: object, margin: int = 0) -> str:
    """Write JSON, in one line what fits."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + margin <= LONGEST_LINE or not isinstance(value, dict | list):
        return line
    space = " " * (margin + 2)
    if isinstance(value, dict):
        parts = [f"{json.dumps(k)}: {indented(v, margin + 2)}" for k, v in value.items()]
    else:
        parts = [indented(item, margin + 2) for item in value]
    inside = ",\n".join(space + part for part in parts)
    return f"{line[0]}\n{inside}\n{' ' * margin}{line[-1]}"


def _link(stored: Mapping[str, Any]) -> str | None:
    name = stored.get("recording_object")
    if name is None or stored["status"] == "deleted":
        return None
    return f"{STORAGE}/{quote(name)}?..."


def main() -> None:
    """Write both pages anew."""
    OPENAPI.write_text(with_examples(OPENAPI.read_text("utf-8")), "utf-8")
    README.write_text(with_reply(README.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
