"""The page of `scullvfs view` in Chromium: what it shows, what a click does, how it looks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from ..vfs.helpers import Scullvfs, mount_point, mounted_on, shell
from ..vfs.viewed import viewed
from .conftest import FOREIGN, Open

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

QUANTUM = 65536
SOON = 2.0
"""Seconds in which a write shows, unless the machine is too busy."""
WIDTHS = (800, 1280, 2560)
SCHEMES = ("light", "dark")


@pytest.fixture
def family(mount: Callable[[str], Path]) -> Path:
    """A mount with something in some devices."""
    mnt = mount("mem=64M,drivers=scullv:scullp:scullc")
    for name, count in (("scullv0", 20), ("scullp1", 3), ("scullc2", 3)):
        for number in range(count):
            with open(mnt / name, "r+b", buffering=0) as file:
                file.seek(number * QUANTUM)
                file.write(bytes(QUANTUM))
    with open(mnt / "scullv1", "r+b", buffering=0) as file:
        file.seek(700 * QUANTUM)
        file.write(b"far")
    return mnt


def drawn(page: Page) -> Page:
    """The page, once all of it is there."""
    expect(page.locator("#ram svg")).to_be_visible()
    expect(page.locator("#state")).to_have_text("live")
    return page


def legend(page: Page, box: str) -> dict[str, int]:
    """Whose -> frames, or what -> ranges, with the sum."""
    rows = page.locator(f"{box} .legend tr").all_inner_texts()
    cells = [re.split(r"[\t\n]+", row.strip()) for row in rows[1:]]
    return {row[-3]: int(row[-2].replace(",", "")) for row in cells}


def quanta(page: Page, device: str) -> int:
    """How many quanta of a device can be clicked."""
    return page.locator(f'[data-device="{device}"] .q').count()


def lit(page: Page, box: str, kind: str) -> set[int]:
    """The cells with an outline."""
    found = page.locator(f"{box} .lit .{kind}")
    return {int(found.nth(at).get_attribute("data-cell") or -1) for at in range(found.count())}


def test_shows_what_the_files_say(show: Open, family: Path) -> None:
    """Devices, legends and cells."""
    page = drawn(show(family))
    assert page.title() == f"{family} – scullvfs view"
    assert page.locator("h1").inner_text() == str(family)
    for name, count in (("scullv0", 20), ("scullv1", 1), ("scullp1", 3), ("scullp0", 0)):
        driver = name.rstrip("0123456789")
        assert int((family / f"sys/class/{driver}/{name}/quanta").read_text()) == count
        assert quanta(page, name) == count
    numbers = legend(page, "#ram")
    total = numbers.pop("MemTotal")
    found = re.search(r"MemTotal: +(\d+) kB", (family / "proc/meminfo").read_text())
    assert found is not None
    assert sum(numbers.values()) == total == int(found[1]) // 4
    assert numbers["scullv0"] == 20 * 16
    assert legend(page, "#band")["scullv0"] == 20
    band = "".join(page.locator("#band svg .letters").all_text_contents())
    assert re.fullmatch(r"(c{16}\|){20}d{16}\|\.*", band)
    item = page.locator('[data-device="scullv1"] .item').nth(1)
    assert item.inner_text().startswith("item 1")
    assert "200 empty" in item.inner_text()


def test_reacts_to_a_write(show: Open, mounted: Path) -> None:
    """Within two seconds; of some writes one may come when the machine is busy."""
    page = drawn(show(mounted))
    times = []
    for count in range(1, 6):
        page.evaluate(
            """count => { window.shown = new Promise(done => {
                const begun = performance.now();
                const look = () => document.querySelectorAll('[data-device="scullv2"] .q').length
                    === count && document.querySelector('#ram .legend').innerText
                    .includes(`scullv2\\t${count * 16}\\t`)
                    ? done((performance.now() - begun) / 1000) : setTimeout(look, 10);
                look(); }); }""",
            count,
        )
        done = shell(
            f'dd if=/dev/zero of="$mnt/scullv2" bs=64k count={count} status=none', mnt=mounted
        )
        assert (done.returncode, done.stderr) == (0, "")
        times.append(page.evaluate("window.shown"))
    assert min(times) < SOON
    assert legend(page, "#ram")["scullv2"] == 5 * 16


def test_click_lights_up(show: Open, family: Path) -> None:
    """The quantum, its area, the tables on the way, and its frames."""
    page = drawn(show(family))
    page.click('[data-key="scullv0/3"]')
    page.wait_for_selector(".moral")
    assert page.locator('.q[aria-pressed="true"]').get_attribute("data-key") == "scullv0/3"
    addresses = re.findall(r" \d+:(\w{16})$", (family / "proc/scullvmem").read_text(), re.MULTILINE)
    tables = page.locator("#quantum table")
    path = [row.split("\t") for row in tables.nth(0).inner_text().splitlines()[2:]]
    assert [row[0] for row in path if len(row) > 1] == ["pgd", "pud", "pmd", "pte"]
    pages = tables.nth(1).locator("tbody tr")
    assert pages.count() == 17
    assert pages.nth(0).inner_text().startswith(addresses[3])
    assert "guard" in pages.nth(16).inner_text()
    frames = [
        int(found[1].replace(",", ""))
        for found in (re.search(r"frame ([\d,]+)", text) for text in pages.all_inner_texts())
        if found is not None
    ]
    share = (64 << 8) // 2048
    assert lit(page, "#ram", "frame") == {frame // share for frame in frames}
    assert lit(page, "#band", "area") == {*range(3 * 17, 4 * 17)}
    in_frames = {int(row[1].replace(",", "")) // share for row in path if len(row) > 1}
    assert lit(page, "#ram", "table") == in_frames - lit(page, "#ram", "frame")
    page.click("#clear")
    assert page.locator(".lit rect").count() == 0
    assert page.locator('.q[aria-pressed="true"]').count() == 0


def test_quantum_of_the_linear_mapping(show: Open, family: Path) -> None:
    """It has frames and no area."""
    page = drawn(show(family))
    page.click('[data-key="scullp1/32"]')
    page.wait_for_selector(".moral")
    assert len(lit(page, "#ram", "frame")) == 1
    assert lit(page, "#band", "area") == set()
    assert "__get_free_pages() gave it" in page.locator("#quantum").inner_text()


def test_chosen_quantum_goes(show: Open, family: Path) -> None:
    """What was chosen is trimmed: nothing is lit, and why is said."""
    page = drawn(show(family))
    page.click('[data-key="scullv0/3"]')
    page.wait_for_selector(".lit .area")
    (family / "scullv0").write_bytes(b"")
    expect(page.locator(".lit rect")).to_have_count(0)
    expect(page.locator("#quantum")).to_contain_text("a hole, to which nothing was written")
    assert quanta(page, "scullv0") == 0


def test_by_number(show: Open, family: Path) -> None:
    """A number leads to any quantum, and a hole says that it is one; the address keeps it."""
    page = drawn(show(family))
    page.select_option("#device", "scullv1")
    page.fill("#number", "700")
    page.click("text=Show")
    page.wait_for_selector(".moral")
    assert "place 200 in the set of item 1" in page.locator("#quantum").inner_text()
    page.fill("#number", "5")
    page.press("#number", "Enter")
    expect(page.locator("#quantum")).to_contain_text("a hole")
    assert page.url.endswith("#scullv1/5")
    page.fill("#number", "700")
    page.press("#number", "Enter")
    page.reload()
    page.wait_for_selector(".lit .area")
    assert page.locator('.q[aria-pressed="true"]').get_attribute("data-key") == "scullv1/700"


@pytest.fixture
def many_areas(mount: Callable[[str], Path]) -> Path:
    """A mount whose window has more pages than the page has cells for."""
    mnt = mount("mem=64M,order=0,qset=4000")
    with open(mnt / "scullv0", "wb", buffering=0) as file:
        for _ in range(3000):
            file.write(bytes(4096))
    return mnt


def band(page: Page) -> str:
    """Its letters."""
    return "".join(page.locator("#band .letters").all_text_contents())


def first_address(page: Page) -> int:
    """Where it begins."""
    return int(page.locator("#band .cells .address").first.text_content() or "", 16)


def test_zoom(show: Open, many_areas: Path) -> None:
    """Closer, a cell is a page and the guard pages can be seen; what is chosen stays in sight."""
    page = drawn(show(many_areas))
    closer, farther, whole = page.locator("#band .zoom button").all()
    start = first_address(page)
    everything = band(page)
    assert "|" not in everything.strip("|")[:700]
    expect(farther).to_be_disabled()
    page.fill("#number", "2000")
    page.click("#pick [type=submit]")
    page.wait_for_selector("#quantum .moral")
    while closer.is_enabled():
        before = page.locator("#band .cells").text_content() or ""
        closer.click()
        expect(page.locator("#band .cells")).not_to_have_text(before)
    assert page.locator("#band .quiet").last.inner_text().startswith("A cell is one page.")
    assert first_address(page) > start
    assert re.search(r"(a\|){100}", band(page))
    expect(page.locator("#band .lit .area")).to_have_count(2)
    # The keys do the same, and what is written meanwhile is seen in that part, too.
    page.focus("#band .cells")
    at = first_address(page)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#band .cells .address").first).not_to_have_text(f"{at:016x}"[4:])
    page.keyboard.press("ArrowRight")
    (many_areas / "scullv0").write_bytes(b"")
    expect(page.locator("#band .letters").first).to_contain_text("ZZZZ")
    page.keyboard.press("0")
    expect(whole).to_be_disabled()
    assert first_address(page) == start
    page.keyboard.press("-")
    assert first_address(page) == start


def test_keyboard(show: Open, family: Path) -> None:
    """One Tab for each set, arrows within it, Enter chooses; the focus stays while it changes."""
    page = drawn(show(family))
    page.focus('[data-device="scullv0"] summary')
    page.keyboard.press("Tab")
    focused = "document.activeElement.dataset.key"
    assert page.evaluate(focused) == "scullv0/0"
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused) == "scullv0/2"
    page.keyboard.press("Enter")
    page.wait_for_selector(".lit .area")
    with open(family / "scullv0", "r+b", buffering=0) as file:
        file.seek(20 * QUANTUM)
        file.write(b"more")
    page.wait_for_selector('[data-key="scullv0/20"]')
    assert page.evaluate(focused) == "scullv0/2"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_names_for_who_does_not_see(show: Open, family: Path) -> None:
    """Quanta, pictures and sections have names."""
    page = drawn(show(family))
    assert page.get_by_role("button", name="quantum 3 of scullv0", exact=True).count() == 1
    assert page.get_by_role("group", name="quantum set of item 0 of scullv0").count() == 1
    assert page.get_by_role("img", name=re.compile(r"RAM in 2,048 cells")).count() == 1
    for name in ("Devices", "Quantum", "RAM", "The window of vmalloc()"):
        assert page.get_by_role("region", name=name, exact=True).count() == 1
    assert page.get_by_role("spinbutton", name="number").count() == 1
    assert page.get_by_role("combobox", name="of").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"


def test_pause(show: Open, mounted: Path) -> None:
    """What is written meanwhile shows when it goes on."""
    page = drawn(show(mounted))
    page.click("#pause")
    assert page.locator("#pause").get_attribute("aria-pressed") == "true"
    assert page.locator("#state").inner_text().startswith("paused at ")
    (mounted / "scullv0").write_bytes(bytes(QUANTUM))
    page.wait_for_timeout(1500)  # three times as long as the page waits between two questions
    assert quanta(page, "scullv0") == 0
    page.click("#pause")
    page.wait_for_selector('[data-key="scullv0/0"]')
    assert page.locator("#pause").inner_text() == "Pause"


def test_mount_goes_and_comes(show: Open, scullvfs: Scullvfs, mounted: Path) -> None:
    """The page says so over what it had, and goes on."""
    (mounted / "scullv0").write_bytes(bytes(QUANTUM))
    page = drawn(show(mounted))
    assert not page.is_visible("#trouble")
    assert scullvfs("umount", mounted).returncode == 0
    page.wait_for_selector("#trouble:visible")
    assert "is not mounted; when it is again" in page.locator("#trouble").inner_text()
    assert page.get_by_role("alert").count() == 1
    assert quanta(page, "scullv0") == 1
    with mounted_on(scullvfs, mounted, "mem=16M"):
        page.wait_for_selector("#trouble", state="hidden")
        expect(page.locator(".q")).to_have_count(0)


def test_mount_hangs(show: Open, scullvfs: Scullvfs, mounted: Path) -> None:
    """The page counts the seconds."""
    page = drawn(show(mounted))
    pid = scullvfs.pid(mounted)
    os.kill(pid, signal.SIGSTOP)
    try:
        page.wait_for_selector("#trouble:visible")
        text = page.locator("#trouble").inner_text()
        assert re.fullmatch(r"The mount has not answered for \d+ s\.", text)
    finally:
        os.kill(pid, signal.SIGCONT)
    page.wait_for_selector("#trouble", state="hidden")


def test_server_ends(browser: Browser, scullvfs: Scullvfs, mounted: Path) -> None:
    """The page says so."""
    with viewed(scullvfs, mounted) as (_, address):
        page = browser.new_page()
        page.goto(address)
        drawn(page)
    page.wait_for_selector("#trouble:visible")
    assert "does not answer. If it has ended, start it" in page.locator("#trouble").inner_text()
    page.close()


def test_names_are_texts(show: Open, scullvfs: Scullvfs, tmp_path: Path) -> None:
    """Nothing of a path is HTML."""
    name = "<img src=x onerror=alert(1)>\x1b[31m"
    with (
        mount_point(scullvfs, tmp_path / name) as path,
        mounted_on(scullvfs, path, "mem=16M"),
        viewed(scullvfs, path) as (_, address),
    ):
        page = drawn(show(address))
        assert page.locator("h1").inner_text().endswith(r"/<img src=x onerror=alert(1)>\033[31m")
        assert page.locator("img:not([role])").count() == 0
        assert scullvfs("umount", path).returncode == 0
        page.wait_for_selector("#trouble:visible")
        assert "<img src=x" in page.locator("#trouble").inner_text()
        page.close()  # before its server ends


def test_refuses_others(browser: Browser, scullvfs: Scullvfs, mounted: Path) -> None:
    """Without the token, by another name, and from another site nothing is to be had."""
    with viewed(scullvfs, mounted) as (_, address), browser.new_context() as context:
        page = context.new_page()
        origin = re.match(r"http://[^/]+", address)
        assert origin is not None
        for refused in (f"{origin[0]}/", address.replace("127.0.0.1", FOREIGN)):
            answer = page.goto(refused)
            assert answer is not None
            assert (answer.status, page.locator("body").inner_text().strip()) == (403, "Forbidden")
        foreign = answer_of_another_site(page)
        for attempt in (
            "fetch(address + 'state').then(a => a.text())",
            "fetch(address + 'state', {mode: 'no-cors'}).then(a => a.text())",
            "import(address + 'dom.js').then(() => 'ran')",
        ):
            script = f"address => {attempt}.catch(() => 'refused')"
            assert foreign.evaluate(script, address) == "refused", attempt
        foreign.evaluate(
            "address => { document.body.innerHTML = `<iframe src=${address}></iframe>` }", address
        )
        foreign.wait_for_timeout(500)
        assert [frame.url for frame in foreign.frames[1:]] == ["chrome-error://chromewebdata/"]


def answer_of_another_site(page: Page) -> Page:
    """A page of another site, which is made up on the way."""
    page.route(
        "http://another.example/",
        lambda route: route.fulfill(body="<p>hello", content_type="text/html"),
    )
    page.goto("http://another.example/")
    return page


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_fits(show: Open, family: Path, width: int, scheme: str) -> None:
    """Nothing is wider than its place, or lies over something else, and all can be read."""
    page = drawn(show(family, width, scheme))
    page.click('[data-key="scullv0/3"]')
    page.wait_for_selector(".moral")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for box in ("#ram .cells", "#band .cells", "#quantum .wide", "#tree", "section"):
        too_wide = page.locator(box).evaluate_all(
            "all => all.filter(each => each.scrollWidth > each.clientWidth + 1).length"
        )
        assert too_wide == 0, box
    boxes = page.locator("section").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect()).map(r => [r.x, r.y, r.right, r.bottom])"
    )
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= width
        for other in boxes[number + 1 :]:
            apart = right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
            assert apart
    assert worst_contrast(page) >= 4.5


def worst_contrast(page: Page) -> float:
    """Of letters in cells, of what is in buttons and of quiet words: WCAG's ratio."""
    worst: float = page.evaluate(
        """() => {
        const probe = document.body.appendChild(document.createElement("div"));
        const light = (colour) => {
          probe.style.color = colour;
          return getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number)
            .map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
            .reduce((sum, c, at) => sum + c * [.2126, .7152, .0722][at], 0);
        };
        const ratio = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        const style = getComputedStyle(document.documentElement);
        const get = (name) => light(style.getPropertyValue(name));
        const fills = ["free", "slab", "large", "tables", "vmalloc", "other", "guard", "lazy",
          "pool", "device0", "device1", "device2", "device3", "device4", "device5", "device6",
          "trouble"];
        const inks = ["ink", "quiet", "accent", "table", "virtual", "physical"];
        const all = [...fills.map(name => ratio(get("--ink"), get(`--${name}`))),
          ...inks.map(name => ratio(get(`--${name}`), get("--panel")))];
        probe.remove();
        return Math.min(...all);
      }"""
    )
    return worst


def test_many_devices(show: Open, mount: Callable[[str], Path]) -> None:
    """A hundred of them on fragmented RAM: closed at first, and opened by a click."""
    mnt = mount("mem=64M,devs=100,fragment=60,order=2")
    for number in range(100):
        (mnt / f"scullv{number}").write_bytes(bytes(16384 * (1 + number % 3)))
    page = drawn(show(mnt))
    assert page.locator("details").count() == 100
    assert page.locator(".q").count() == 0
    page.click('[data-device="scullv7"] summary')
    page.wait_for_selector('[data-device="scullv7"] .q')
    assert quanta(page, "scullv7") == 2
    (mnt / "scullv7").write_bytes(bytes(16384))
    expect(page.locator(".q")).to_have_count(1)
    assert legend(page, "#ram")["more devices"] == 4 * sum(1 + n % 3 for n in range(25, 100))


def test_hidden_tab_asks_nothing(show: Open, scullvfs: Scullvfs, mounted: Path) -> None:
    """What nobody sees costs nothing."""
    page = drawn(show(mounted))
    asked: list[str] = []
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {get: () => window.gone, configurable: true})"
    )
    page.evaluate("window.gone = true")
    page.wait_for_timeout(700)  # what was asked before has come
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(1200)
    assert asked == []
    (mounted / "scullv0").write_bytes(bytes(QUANTUM))
    page.evaluate("window.gone = false")
    page.wait_for_selector('[data-key="scullv0/0"]')


def test_one_server_for_two_tabs(browser: Browser, scullvfs: Scullvfs, mounted: Path) -> None:
    """Both are brought up to date, each by itself."""
    with viewed(scullvfs, mounted) as (process, address):
        tabs = [browser.new_page() for _ in range(2)]
        for tab in tabs:
            tab.goto(address)
            drawn(tab)
        (mounted / "scullv0").write_bytes(bytes(QUANTUM))
        for tab in tabs:
            tab.wait_for_selector('[data-key="scullv0/0"]')
            tab.close()
        assert isinstance(process, subprocess.Popen)


@pytest.mark.parametrize("width", WIDTHS)
def test_report_fits(browser: Browser, scullvfs: Scullvfs, family: Path, width: int) -> None:
    """Pictures of a report are in the window as a whole, and nothing else sticks out of it."""
    page_file = family.parent / "report.html"
    done = scullvfs("report", "-o", page_file, family)
    assert (done.returncode, done.stderr) == (0, "")
    page = browser.new_page(viewport={"width": width, "height": 1000})
    page.goto(f"file://{page_file}")
    assert page.locator("figure svg").count() > 2
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for box in ("figure", ".wide"):
        too_wide = page.locator(box).evaluate_all(
            "all => all.filter(each => each.scrollWidth > each.clientWidth + 1).length"
        )
        assert too_wide == 0, box
    page.close()
