"""Bring the catalogues in docs/locale up to date with the pages that are translated.

`make locale` runs it.  A text that is new has an empty translation then, one that was changed an
old translation marked `fuzzy`, and what is no longer said is gone.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

PAGES = ["README.md", "docs/guide.md", "docs/labs.md", "docs/labs/*.md"]
"""The pages that are translated; all others stay English."""

CATALOGUES = ROOT / "docs/locale/zh_CN/LC_MESSAGES"


def sphinx(builder: str, directory: Path, *options: str, pages: list[str] = PAGES) -> None:
    """Run Sphinx on these pages alone, which is quick.

    That they link to other pages, it is not to say.
    """
    subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-Q", "-c", "docs", "-b", builder, *options),
            *("-D", f"include_patterns={','.join(pages)}", "-D", "root_doc=docs/guide"),
            *("-d", directory / "doctrees", ".", directory),
        ],
        cwd=ROOT,
        check=True,
    )


def main() -> None:
    """Update the catalogues, and remove those of pages that are gone."""
    with tempfile.TemporaryDirectory() as name:
        templates = Path(name)
        sphinx("gettext", templates)
        pages = {path.relative_to(templates).with_suffix("") for path in templates.rglob("*.pot")}
        for path in CATALOGUES.rglob("*.po"):
            if path.relative_to(CATALOGUES).with_suffix("") not in pages:
                path.unlink()
        subprocess.run(
            [
                *(sys.executable, "-m", "sphinx_intl", "update"),
                *("--no-obsolete", "--line-width", "0"),
                *("-p", templates, "-d", ROOT / "docs/locale", "-l", "zh_CN"),
            ],
            check=True,
        )


if __name__ == "__main__":
    main()
