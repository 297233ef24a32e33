"""``bench-core dashboard``: asv's site, which opens with no network."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("dashboard")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the site.  [default: asv's html_dir]",
)
@click.option(
    "--serve",
    "port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve the site on this host; 0 takes a free port.",
)
@click.option(
    "--project",
    "root",
    type=click.Path(path_type=Path),
    default=Path(),
    show_default="this folder",
    help="The folder with asv.conf.json.",
)
def command(out: Path | None, port: int | None, root: Path) -> None:
    """Write asv's site from the results there are, without anything that loads from the net.

    index.html opens from the disk, too. An earlier site in the folder is replaced.
    """
    from harness.asv_project import open_project
    from harness.dashboard import serve, write_site

    index = write_site(open_project(root), out)
    click.echo(index)
    if port is not None:
        serve(index.parent, port, lambda address: click.echo(f"{address}  (Ctrl-C ends it)"))
