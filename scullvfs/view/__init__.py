"""Pictures of a mount, from outside: what its files say, drawn.

    files, core          the files of a mount; RAM behind `proc/kcore`, and the page tables in it
    device, ram, window  what they say, as plain data: a device; whose each frame is; the addresses
    listing              of which a driver's listing and the list of areas are read
    memory               RAM and the window, read together
    asked, plain         the question to a mount, and its answer checked
    words, cells         how numbers are said; many frames as few cells, and the legend
    show, map            a device, and the memory, in a terminal; its characters are `marks`
    show_svg, map_svg    and as SVG, of `shapes`, whose colours on a dark page are `night`
    report               all of it, read together; as a page, of `report_page`: `report_html`
    output               the file that a picture or a report goes into
    moment, rates        what a live view reads again and again, and what follows from two looks
    asker                the process that asks for it
    top                  the live view: of `gauges`, `table` and `tails`; `screens` lie over it
    state, telling       what a page is told of all this, as plain data; made of the models
    live                 a mount that is looked at again and again
    server, serve        the page in page/, and who gets it; its life

What is read is `device.Device`, `ram.Ram` and `window.Window`, and whoever draws something else of
them begins there: by `asked.ask_mount()`.

Called by `cli`.  Must not import `fs`, `fuse`, `daemon` or the machine; of `mm` and `scull` it
knows the tables of numbers and names.  Reading is done by a child process with a time limit, since
a mount may hang; nothing here waits for it otherwise.  A picture is of some moments that lie close
together: where what was read does not fit together, it is read again.  Rich, Jinja2 and Textual
are in the extra `scullvfs[view]`, and only who draws imports them.
"""
