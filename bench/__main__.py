"""python -m bench {rate-accuracy,edge,link}: each figure that the README quotes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edge.weights import DEFAULT_WEIGHTS

app = typer.Typer(no_args_is_help=True, help="Measure glimpse; results land in docs/results.")

Out = Annotated[Path, typer.Option(help="Folder for the JSON and the plot.")]
Weights = Annotated[Path, typer.Option(help="Weights folder.")]


@app.command(name="rate-accuracy")
def rate_accuracy(
    dataset: Annotated[Path, typer.Option(help="COCO JSON file.")],
    images: Annotated[Path, typer.Option(help="Folder of its pictures.")],
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    most: Annotated[int | None, typer.Option(help="Only the first pictures.")] = None,
) -> None:
    """Bytes on disk against mAP, from picture files to boxes."""
    from bench.rate_accuracy import QUALITIES
    from bench.rate_accuracy import rate_accuracy as measure

    figures = measure(dataset, images, out, weights, most, QUALITIES)
    for p in figures["points"]:
        typer.echo(
            f"{p['setting']:<12} {p['mean_bytes']:8.1f} B  {p['bpp']:.4f} bpp"
            f"  mAP {p['map']:.1%}  mAP50 {p['map50']:.1%}"
        )
    typer.echo(f"round trip   {figures['round_trip_mismatches']} mismatches")


@app.command()
def edge(
    source: Annotated[str, typer.Option(help="Video file or folder of pictures.")],
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    frames: Annotated[int, typer.Option(min=1)] = 40,
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Time and memory of encoding a frame, beside JPEG, WebP and AVIF."""
    from bench.edge import edge as measure

    typer.echo(json.dumps(measure(source, out, weights, frames, threads), indent=2))


@app.command()
def link(
    source: Annotated[str, typer.Option(help="Video file or folder of pictures.")],
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    seconds: Annotated[
        float, typer.Option(min=5, help="Length of each trace; below 60 s for a quick look.")
    ] = 180.0,
    only: Annotated[
        list[str] | None, typer.Option(help="Only traces whose name contains this; repeatable.")
    ] = None,
) -> None:
    """Wire bytes, frames, quality and latency over thin links, by real processes."""
    from bench.link import link as measure

    for t in measure(source, out, weights, seconds, only or [])["traces"]:
        typer.echo(
            f"{t['trace']:<32} {t['wire_bit_s']:7d} bit/s  {t['fps']:.2f} fps"
            f"  quality {t['quality']}  p50 {t['latency_ms']['p50']} ms  {t['ledger']}"
        )


if __name__ == "__main__":
    app()
