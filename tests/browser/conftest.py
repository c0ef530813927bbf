"""Chromium, and mounts whose page it shows.

These tests are collected only where they are asked for by name, as `make test-browser` does: they
take Chromium and Playwright, and the others do not.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..vfs.conftest import fuse, mount, mounted, mountpoint, scullvfs, state_home
from ..vfs.helpers import DEADLINE, Scullvfs
from ..vfs.viewed import viewed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["fuse", "mount", "mounted", "mountpoint", "scullvfs", "state_home"]

FOREIGN = "elsewhere.example"
"""A name that leads to this machine, as that of another site may."""


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Nothing is here, unless it is named."""
    here = Path(__file__).parent
    named = [Path(arg.partition("::")[0]).resolve() for arg in config.invocation_params.args
             if not arg.startswith("-")]  # fmt: skip
    return None if any(here in (path, *path.parents) for path in named) else True


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, headless."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=DEADLINE * 1000)
    program = shutil.which("chromium")
    assert program is not None, "Chromium is missing: apt-get install chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program,
            args=[f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1"],
        )
        yield chromium
        chromium.close()


Open = Callable[..., "Page"]


@pytest.fixture
def show(browser: Browser, scullvfs: Scullvfs, mount: Callable[[str], Path]) -> Iterator[Open]:
    """Open a tab with the page of a mount, or with an address, in a window of some size.

    What the page has to complain of, and whatever it asks of another server, fails the test.
    `mount` is named so that the mounts are taken down last, when no page looks at them.
    """
    from contextlib import ExitStack

    wrong: list[str] = []
    with ExitStack() as stack:

        def show(what: Path | str, width: int = 1280, scheme: Any = "light") -> Page:
            address = (
                what if isinstance(what, str) else stack.enter_context(viewed(scullvfs, what))[1]
            )
            context = stack.enter_context(
                browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
            )
            page = context.new_page()
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda message: wrong.append(message.text))
            own = address.partition("//")[2].partition("/")[0]
            context.on(
                "request",
                lambda request: None if f"//{own}/" in request.url else wrong.append(request.url),
            )
            page.on("dialog", lambda dialog: wrong.append(dialog.message))
            page.goto(address)
            return page

        yield show
    assert wrong == []
