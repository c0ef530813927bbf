"""Draws what moves: `scullvfs top`, and the page of `scullvfs view`. `make pictures` runs it.

    python docs/screens.py MOUNT DIRECTORY      DIRECTORY/top.svg, DIRECTORY/view.png

While `top` looks, the first device is read and written, so that there are rates to see.  The other
picture takes Chromium and Playwright; it has few colours, which makes it small.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

LOOKS = 12
"""Times that top looks."""
DEVICE, NUMBER = "scullv0", 3
"""The quantum that is chosen on the page."""
WIDTH, HEIGHT = 1280, 1000


def draw_top(mount: str, picture: Path, looks: int = LOOKS) -> None:
    """Write what a terminal of 100x24 shows after some looks."""
    from scullvfs.view.asker import MOMENT, Asker
    from scullvfs.view.marks import UNICODE
    from scullvfs.view.moment import Moment
    from scullvfs.view.top import TopApp

    with closing(Asker(mount)) as moments, closing(Asker(mount)) as devices:
        app = TopApp(mount, moments.ask(Moment, MOMENT), moments, devices, 0.5, UNICODE)

        async def sit() -> None:
            async with app.run_test(size=(100, 24)) as pilot:
                done = threading.Event()
                thread = threading.Thread(target=_use, args=(f"{mount}/{DEVICE}", done))
                thread.start()
                try:
                    while app.looks < looks:
                        await pilot.pause(0.05)
                    picture.write_text(_alone(app.export_screenshot(title=f"scullvfs top {mount}")))
                finally:
                    done.set()
                    thread.join()

        asyncio.run(sit())


def _use(path: str, done: threading.Event) -> None:
    """Read and write what is there already, now more and now less."""
    with open(path, "r+b", buffering=0) as device:
        for at in range(1 << 30):
            quantum = at % 20
            device.seek(quantum << 16)
            data = device.read(1 << 16)
            device.seek(quantum << 16)
            device.write(data)
            if done.wait(0.002 + 0.01 * (at // 100 % 4)):
                return


def _alone(svg: str) -> str:
    """The picture without the fonts that Rich would fetch from elsewhere: any monospace will do."""
    svg = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)
    return "".join(f"{line.rstrip()}\n" for line in svg.splitlines())


def draw_view(mount: str, picture: Path) -> None:
    """Write what a browser shows of the page."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "scullvfs", "view", "--no-browser", mount]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"),
                    args=["--no-sandbox"] if os.geteuid() == 0 else [],
                )
                page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                page.goto(f"{address}#{DEVICE}/{NUMBER}")
                page.wait_for_selector("#quantum .moral")
                page.wait_for_selector("#band .lit .area")
                page.screenshot(path=picture, full_page=True)
                browser.close()
        finally:
            server.send_signal(signal.SIGINT)
    _shrink(picture)


def _shrink(picture: Path) -> None:
    """Have the picture a palette, for which half of the bytes are enough."""
    from PIL import Image  # comes with matplotlib, as the tests take it

    with Image.open(picture) as image:
        few = image.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)


if __name__ == "__main__":
    mount, directory = sys.argv[1], Path(sys.argv[2])
    draw_top(mount, directory / "top.svg")
    draw_view(mount, directory / "view.png")
