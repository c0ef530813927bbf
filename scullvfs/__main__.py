"""``python -m scullvfs``: the same program as the ``scullvfs`` command."""

from scullvfs.cli import main

if __name__ == "__main__":
    main(prog_name="scullvfs")
