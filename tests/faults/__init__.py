"""What happens when networks fail and clients misbehave, against the function as a real server."""

FIGURES: list[str] = []  # what the tests measured, shown at the end of a run
