"""What the tests count and measure, shown at the end of a run."""

from collections import Counter

FIGURES: list[str] = []
FUZZED: Counter[str] = Counter()  # how many cases of each kind ran
