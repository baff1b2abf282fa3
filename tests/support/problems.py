"""The problems that the function answers, each with a code of its own."""

from collections.abc import Iterator

from call_api.errors import Problem


def problems(kind: type[Problem] = Problem) -> Iterator[type[Problem]]:
    """Walk the problems that have a code of their own; the others are answered alike."""
    for heir in kind.__subclasses__():
        if "code" in vars(heir):
            yield heir
        yield from problems(heir)


PROBLEMS = list(problems())
