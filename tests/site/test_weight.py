"""How much the page weighs, and how soon an hour's call can be read."""

import gzip

from playwright.sync_api import expect

from local.site import site_files
from tests.support.browser import Tab
from tests.support.figures import FIGURES
from tests.support.project import PutCall

KILOBYTES = 40
TURNS = 1_800
ATTEMPTS = 5  # of the page and of the baseline in turn; the best ones tell what they need
TIMES = 3
USABLE = """
window.usable = new Promise((resolve) => {
  const look = () => document.querySelectorAll("#turns li").length === %d
    ? requestAnimationFrame(() => setTimeout(() => resolve(performance.now())))
    : requestAnimationFrame(look);
  look();
});
"""
BASELINE = """() => {
  const began = performance.now();
  const list = document.createElement("ol");
  for (let i = 0; i < %d; i++) {
    const turn = document.createElement("li");
    for (const name of ["button", "span", "p"]) {
      turn.append(Object.assign(document.createElement(name), { textContent: `${i}: ठीक है` }));
    }
    list.append(turn);
  }
  document.body.append(list);
  list.getBoundingClientRect();
  list.remove();
  return performance.now() - began;
}"""
ARRIVED = (
    "performance.getEntriesByType('resource').find(e => e.name.includes('/v2/calls/')).responseEnd"
)


def test_the_page_is_light() -> None:
    files = [file for path, file in site_files(None).items() if path.count("/") == 1]
    weight = sum(len(gzip.compress(file.read_bytes())) for file in files)
    FIGURES.append(f"call page: {weight / 1000:.1f} kB gzipped, in {len(files)} files")
    assert weight <= KILOBYTES * 1000


def test_a_call_of_an_hour_is_usable_soon(tab: Tab, put_call: PutCall) -> None:
    """Soon is in a few times the time that a bare list of as many turns takes to lay out."""
    turns = [
        {
            "role": ("user", "assistant")[i % 2],
            "content": f"{i}: ठीक है, क्यारी के लिए आधा किलो खाद काफ़ी है। अगली क्यारी पर चलिए।",
            "timestamp": f"{2 * i}",
        }
        for i in range(TURNS)
    ]
    page = tab.shown(put_call({"transcript": turns, "recording_duration": 3_600}))
    page.add_init_script(USABLE % TURNS)
    bare, whole = [], []
    for _ in range(ATTEMPTS):
        page.reload()
        whole.append(page.evaluate("usable") - page.evaluate(ARRIVED))
        bare.append(page.evaluate(BASELINE % TURNS))
    expect(page.locator("#turns li")).to_have_count(TURNS)
    FIGURES.append(
        f"call page: {TURNS:,} turns usable {min(whole):.0f} ms after their JSON, a bare list of"
        f" them {min(bare):.0f} ms"
    )
    assert min(whole) < TIMES * min(bare)
    assert page.evaluate(f"find('{TURNS - 1}: ठीक')")
