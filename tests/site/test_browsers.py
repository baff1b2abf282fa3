"""The call page in Firefox and in WebKit: opening, playing, seeking, following, keys and copying.

What looks and reads the same in every browser is tested in Chromium.
"""

import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.support.browser import WIDE, Stack
from tests.support.driven import Driven, firefox, webkit
from tests.support.player import said
from tests.support.project import PutCall

OpenCall = Callable[..., Driven]

HEADING = "document.querySelector('#title').textContent"
AUDIO = "document.querySelector('audio')"
TURN = "document.querySelector('#turns [aria-current=true]')"
IN_VIEW = """(({ top, bottom }) => top >= 0 && bottom <= innerHeight)(
  document.querySelector('#turns [aria-current=true]').getBoundingClientRect())"""
FOLLOW = "named('Follow playback').checked"
ASKED = (
    "performance.getEntriesByType('resource').filter((e) => e.name.includes('/v2/calls/')).length"
)
SAID_TO_BE_BROKEN = "document.body.innerText.includes('The recording cannot be played.')"
QUICK = said(*(str(i / 2) for i in range(150)))  # the speakers change every half second
BROKEN = {"recording_object": "recordings/gone.wav"}


def installed(program: str, package: str) -> str:
    """Return where a program is; skip the test where the machine has none."""
    found = shutil.which(program)
    if found is None:  # not every system has these packages; CI, which has, fails on a skip
        pytest.skip(f"There is no {program}: install {package}")
    return found


def installed_firefox() -> str:
    """Return Firefox as most systems call it, or as Debian does."""
    return shutil.which("firefox") or installed("firefox-esr", "firefox-esr")


@pytest.fixture(scope="session", params=["firefox", "webkit"])
def driven(request: pytest.FixtureRequest) -> Iterator[Driven]:
    if request.param == "firefox":
        browser = firefox(installed_firefox())
    else:
        installed("Xvfb", "xvfb")
        browser = webkit(installed("WebKitWebDriver", "webkit2gtk-driver"))
    with browser as window:
        yield window


@pytest.fixture
def page(driven: Driven, watched_site: str) -> Iterator[Driven]:
    """Return a window of its own, in which nothing may go wrong."""
    driven.renew()
    driven.resize(*WIDE.values())
    driven.go(watched_site)
    yield driven
    assert driven.see("sessionStorage.faults") is None


@pytest.fixture
def open_call(page: Driven, watched_site: str, stack: Stack) -> OpenCall:
    def open_call(call_id: int, moment: str = "") -> Driven:
        opened(page, f"{watched_site}/?call={call_id}{moment}", stack.key)
        return page

    return open_call


def opened(page: Driven, address: str, key: str) -> None:
    """Open a call by its address, as somebody with a link does."""
    page.go(address)
    page.click("API key")  # which has the focus; but MiniBrowser drops keys before a first click
    page.write(key)
    page.press("Enter")
    page.until(f"{HEADING}.includes('Call')")


@pytest.fixture
def call(open_call: OpenCall) -> Driven:
    """Open a call of two minutes, whose recording has loaded."""
    page = open_call(88)
    page.until(f"{AUDIO}.readyState >= 1")
    return page


@pytest.fixture
def playing(open_call: OpenCall, put_call: PutCall) -> Driven:
    """Play a call, far enough down that the page has scrolled."""
    page = open_call(put_call(QUICK))
    page.click("Play from 0:20")
    page.until(f"{TURN}?.textContent.includes('Turn 42')")
    assert page.see(FOLLOW)
    return page


def at(page: Driven, seconds: float) -> None:
    """Wait until the recording is there, give or take its playing on meanwhile."""
    page.until(f"{AUDIO}.currentTime > {seconds} - 0.02 && {AUDIO}.currentTime < {seconds} + 2.5")


def pasted(page: Driven) -> str:
    """Paste what was copied, as a person does: no browser lets a page read it unasked."""
    page.run(
        "const field = document.createElement('textarea'); document.body.append(field); field.focus();"
    )
    page.press("Control", "v")
    page.until("document.activeElement.value")
    text: str = page.see("document.activeElement.value")
    page.run("document.activeElement.remove()")
    return text


def test_a_call_is_opened_by_the_form(page: Driven, stack: Stack) -> None:
    page.until("document.activeElement === named('API key')")
    page.screenshot("welcome")
    page.click("API key")
    page.write(stack.key)
    page.click("Call ID")
    page.write("#88")
    page.click("Open call")
    page.until(f"{HEADING}.includes('Call 88')")
    assert page.see("location.search + location.hash") == "?call=88"
    assert page.see("named('API key')") is None
    page.click("Change call or key")
    assert page.see("document.activeElement === named('Call ID')")


def test_a_call_is_opened_by_a_link(open_call: OpenCall) -> None:
    page = open_call(88, "#t=80.2")
    at(page, 80.2)
    assert page.see(f"{TURN}.textContent").endswith("She's on a video call right now.")
    assert page.see(f"{AUDIO}.paused")
    page.until(IN_VIEW)
    page.screenshot("wide")
    page.resize(320, 800)
    assert page.see("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot("narrow")
    page.resize(*WIDE.values())
    page.run("document.documentElement.style.colorScheme = 'dark'")
    page.screenshot("dark")


def test_a_recording_plays_and_pauses(call: Driven) -> None:
    call.run("location.hash = 't=5.5'")
    at(call, 5.5)
    assert "Good morning" in call.see(f"{TURN}.textContent")
    call.click("Play")
    call.until("named('Pause') && !named('Play')")
    call.until(f"{TURN}.textContent.includes('Hi Maya')")
    assert call.see(f"{AUDIO}.currentTime") > 5.9
    call.until("named('Timeline').ariaValueText.endsWith('of 2:21')")  # said once a second
    call.screenshot("playing")
    call.click("Pause")
    call.until("named('Play') && !named('Pause')")
    assert call.see(f"{AUDIO}.paused")


def test_the_button_of_a_turn_plays_from_there(call: Driven) -> None:
    call.click("Play from 0:44")
    at(call, 44.2)
    assert not call.see(f"{AUDIO}.paused")
    assert "That points at the line" in call.see(f"{TURN}.textContent")


def test_the_slider_seeks(call: Driven) -> None:
    call.click("Timeline")
    at(call, 70)  # within a pixel of its middle
    for key, seconds in [("ArrowRight", 75), ("ArrowLeft", 70), ("Home", 0), ("End", 141)]:
        call.press(key)
        at(call, seconds)
    assert call.see(f"{TURN}.textContent").endswith("Have a calm evening online.")


@pytest.mark.parametrize("reads_elsewhere", ["the wheel", "Page Down"])
def test_following_stops_until_a_turn_is_chosen(playing: Driven, reads_elsewhere: str) -> None:
    playing.until(IN_VIEW)
    if reads_elsewhere == "the wheel":
        playing.turn_wheel(1_500)
    else:
        playing.press("PageDown")
    playing.until(f"!{FOLLOW}")
    playing.click("Play from 0:35")
    at(playing, 36)
    assert playing.see(FOLLOW)
    playing.until(IN_VIEW)


def test_keys_play_seek_and_move_by_turns(call: Driven) -> None:
    for key, seconds in [("]", 6), ("]", 12), ("[", 6), ("ArrowRight", 11), ("ArrowLeft", 6)]:
        call.press(key)
        at(call, seconds)
    call.press("Space")
    at(call, 7)
    call.press("Space")
    call.until(f"{AUDIO}.paused")


def test_the_list_of_keys_is_no_higher_than_it_needs(call: Driven) -> None:
    call.press("?")
    call.until("document.querySelector('dialog').open")
    assert call.see("document.querySelector('dialog').offsetHeight") < 400
    call.screenshot("shortcuts")
    call.press("Escape")
    call.until("!document.querySelector('dialog').open")


def test_transcript_and_link_are_copied(call: Driven, watched_site: str) -> None:
    call.press("]")
    at(call, 6)
    call.click("Copy link to this moment")
    call.until("document.body.innerText.includes('The link is copied.')")
    assert pasted(call) == f"{watched_site}/?call=88#t=6"
    call.click("Copy transcript")
    call.until("document.body.innerText.includes('The transcript is copied.')")
    lines = pasted(call).splitlines()
    assert lines[0] == "Call 88 · Maya Line Support"
    assert lines[3].startswith("Caller (0:06): Hi Maya.")


def test_a_broken_recording_is_said_and_costs_no_request(
    open_call: OpenCall, put_call: PutCall
) -> None:
    page = open_call(put_call(BROKEN))
    page.until(SAID_TO_BE_BROKEN)
    page.screenshot("broken")
    page.click("Try again")
    page.until(SAID_TO_BE_BROKEN)
    assert page.see("named('Play')") is None
    assert page.see(ASKED) == 1


def test_firefox_without_an_audio_device_says_so_and_asks_for_no_other_link(
    watched_site: str, stack: Stack
) -> None:
    """It loads the recording, and fails when it is to be heard."""
    with firefox(installed_firefox(), has_audio=False) as page:
        page.renew()
        opened(page, f"{watched_site}/?call=88", stack.key)
        for again in (False, True):
            if again:
                page.click("Try again")
            page.until(f"{AUDIO}.readyState >= 1")
            page.click("Play")
            page.until(SAID_TO_BE_BROKEN)
        assert page.see(f"{AUDIO}.paused")
        assert page.see(ASKED) == 1
        assert page.see("sessionStorage.faults") is None
