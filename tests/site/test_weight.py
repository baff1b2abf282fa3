"""How much the page weighs, and how soon an hour's call can be read."""

import gzip
from statistics import median

from local.site import site_files
from tests.support.browser import Tab
from tests.support.figures import FIGURES
from tests.support.player import hour
from tests.support.project import PutCall

KILOBYTES = 40
TURNS = 1_800
ATTEMPTS = 3  # of which the median counts
SOON_MS = 1_000
# The transcript is laid out, and a click on its last turn is answered.
USABLE = """
window.usable = new Promise((resolve, reject) => {
  const answered = () => {
    const turn = document.querySelector("#turns li:last-child");
    turn.querySelector("button").click();
    if (turn.ariaCurrent !== "true") reject(new Error("The turn is not marked"));
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now())));
  };
  const look = () => requestAnimationFrame(
    document.querySelectorAll("#turns li").length === %d ? () => setTimeout(answered) : look);
  look();
});
"""
ARRIVED = (
    "performance.getEntriesByType('resource').find(e => e.name.includes('/v2/calls/')).responseEnd"
)


def test_the_page_is_light() -> None:
    files = [file for path, file in site_files(None).items() if path.count("/") == 1]
    weight = sum(len(gzip.compress(file.read_bytes())) for file in files)
    FIGURES.append(f"call page: {weight / 1000:.1f} kB gzipped, in {len(files)} files")
    assert weight <= KILOBYTES * 1000


def test_a_call_of_an_hour_is_usable_soon(tab: Tab, put_call: PutCall) -> None:
    turns = [
        {
            "role": ("user", "assistant")[i % 2],
            "content": f"{i}: ठीक है, क्यारी के लिए आधा किलो खाद काफ़ी है। अगली क्यारी पर चलिए।",
            "timestamp": f"{2 * i}",
        }
        for i in range(TURNS)
    ]
    page = tab.shown(put_call(hour() | {"transcript": turns}))
    page.add_init_script(USABLE % TURNS)
    waits = []
    for _ in range(ATTEMPTS):
        page.reload()
        waits.append(page.evaluate("usable") - page.evaluate(ARRIVED))
    soon = median(waits)
    FIGURES.append(f"call page: {TURNS:,} turns usable {soon:.0f} ms after their JSON")
    assert soon < SOON_MS
