"""python -m bench: each figure that the README quotes; `--help` names the commands."""

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
    pixel_run: Annotated[
        Path | None, typer.Option(help="Folder of `train pixel`; without it no opponents.")
    ] = None,
    tuned_run: Annotated[
        Path | None, typer.Option(help="Folder of `train pixel --compressed`.")
    ] = None,
    peer_run: Annotated[Path | None, typer.Option(help="Folder of `train peer`.")] = None,
    most: Annotated[int | None, typer.Option(min=1, help="Only the first pictures.")] = None,
    draws: Annotated[int, typer.Option(min=0, help="Bootstrap draws for the intervals.")] = 200,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    kept: Annotated[
        Path, typer.Option(help="Folder where opponents' results are kept for the next time.")
    ] = Path("cache/rate-accuracy"),
) -> None:
    """Bytes on disk against mAP, ours and the opponents', from picture files to boxes."""
    from rich.console import Console

    from bench.rate_accuracy import Runs
    from bench.rate_accuracy import rate_accuracy as measure
    from bench.rate_table import tables
    from common.errors import GlimpseError

    runs = Runs(pixel_run, tuned_run, peer_run)
    if pixel_run is None and (tuned_run or peer_run):
        raise typer.BadParameter("--tuned-run and --peer-run need --pixel-run")
    try:
        figures = measure(
            dataset, images, out, weights, runs, most=most, draw_count=draws, jobs=jobs, kept=kept
        )
    except (GlimpseError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from None
    for table in tables(figures):
        Console().print(table)
    typer.echo(f"round trip   {figures['round_trip_mismatches']} mismatches")


@app.command()
def recognise(
    dataset: Annotated[Path, typer.Option(help="COCO JSON file.")],
    images: Annotated[Path, typer.Option(help="Folder of its pictures.")],
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    most: Annotated[int | None, typer.Option(min=1, help="Only the first pictures.")] = None,
    draws: Annotated[int, typer.Option(min=0, help="Bootstrap draws for the intervals.")] = 200,
) -> None:
    """Bytes on disk against how well is known which classes are in view."""
    from bench.recognise import recognise as measure
    from common.errors import BadSettings

    try:
        figures = measure(dataset, images, out, weights, most=most, draw_count=draws)
    except BadSettings as error:
        raise typer.BadParameter(str(error)) from error
    for p in figures["points"]:
        low, high = p["map_interval"]
        typer.echo(
            f"{p['profile']:<10} quality {p['quality']:<5} {p['mean_bytes']:7.1f} B"
            f"  mAP {p['map']:.1%} ({low:.1%} to {high:.1%})"
        )
    typer.echo(f"round trip mismatches  {figures['round_trip_mismatches']}")


@app.command()
def video(
    clip: Annotated[list[Path], typer.Option(help="Clip of a fixed camera; repeatable.")],
    pixel_run: Annotated[
        Path, typer.Option(help="Folder of `train pixel`, whose detector looks at the videos.")
    ] = Path("runs/pixel"),
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    fps: Annotated[float, typer.Option(min=0.1, max=120)] = 5.0,
    seconds: Annotated[float, typer.Option(min=1, help="Of each clip.")] = 30.0,
    codec: Annotated[
        list[str] | None, typer.Option(help="Only this video codec: x265 or svt-av1; repeatable.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
) -> None:
    """Our intra and inter layers against x265 and SVT-AV1: bytes at equal detection."""
    from rich.console import Console

    from bench.video import video as measure
    from bench.video_table import tables
    from bench.videocodecs import VIDEO_CODECS
    from common.errors import GlimpseError

    try:
        figures = measure(
            clip, out, weights, pixel_run, fps=fps, seconds=seconds, jobs=jobs,
            codecs=codec or tuple(VIDEO_CODECS),
        )  # fmt: skip
    except (GlimpseError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from None
    for table in tables(figures):
        Console().print(table)


@app.command()
def edge(
    source: Annotated[str, typer.Option(help="Video file or folder of pictures.")],
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    pixel_run: Annotated[
        Path | None,
        typer.Option(help="Folder of `train pixel`: the whole detector on the edge beside it."),
    ] = None,
    frames: Annotated[int, typer.Option(min=1)] = 40,
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Time and memory of encoding a frame, beside JPEG, WebP, AVIF and a detector on the edge."""
    from bench.edge import edge as measure

    typer.echo(json.dumps(measure(source, out, weights, pixel_run, frames, threads), indent=2))


@app.command()
def precision(
    dataset: Annotated[Path, typer.Option(help="COCO JSON file.")],
    images: Annotated[Path, typer.Option(help="Folder of its pictures.")],
    clip: Annotated[
        list[Path] | None, typer.Option(help="A fixed camera's clip; repeatable.")
    ] = None,
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    most: Annotated[int | None, typer.Option(min=1, help="Only the first pictures.")] = None,
) -> None:
    """The int8 encoder beside the float one: integers, bytes, accuracy."""
    from bench.precision import precision as measure

    figures = measure(dataset, images, out, weights, clips=clip or (), most=most)
    for p in figures["points"]:
        typer.echo(
            f"quality {p['quality']:g}  {p['changed_of_nonzero']:.1%} changed"
            f"  bytes x {p['bytes_ratio']}  mAP {p['map_difference']:+.2%}"
        )
    for chain in figures["chains"]:
        for p in chain["points"]:
            typer.echo(f"{chain['clip']}  quality {p['quality']:g}  bytes x {p['bytes_ratio']}")


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


@app.command()
def viewers(
    source: Annotated[str, typer.Option(help="Video file or folder of pictures.")],
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    count: Annotated[int, typer.Option(min=1, help="Open pages.")] = 50,
    frames: Annotated[int, typer.Option(min=1, help="Stored before.")] = 10_000,
    seconds: Annotated[float, typer.Option(min=5, help="Of each run of the camera.")] = 60.0,
    rounds: Annotated[int, typer.Option(min=1, help="Runs without pages, and with them.")] = 4,
) -> None:
    """Ingest latency with open viewer pages beside none; time until a page is usable."""
    from bench.viewers import viewers as measure

    figures = measure(
        source, out, weights, count=count, frames=frames, seconds=seconds, rounds=rounds
    )
    for pages, latency in figures["latency_ms"].items():
        typer.echo(f"{pages:>3} pages  p50 {latency['p50']} ms  p95 {latency['p95']} ms")
    change, usable = figures["change"], figures["usable_ms"]
    typer.echo(f"change     p50 {change['p50']:+.1%}  p95 {change['p95']:+.1%}")
    times = f"median {usable['median']} ms, best {usable['best']} ms" if usable else "no browser"
    typer.echo(f"page       usable with {frames} stored frames: {times}")


@app.command()
def determinism(
    images: Annotated[Path, typer.Option(help="Folder of pictures.")],
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    latents: Annotated[
        int, typer.Option(min=10, help="Random latents, in each process.")
    ] = 100_000,
    mutations: Annotated[int, typer.Option(min=1, help="Damaged layers.")] = 100_000,
    most: Annotated[int | None, typer.Option(min=1, help="Only the first pictures.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
) -> None:
    """Whether every layer is read as it was coded, on any machine, and its bytes against ideal."""
    from bench.determinism import determinism as measure

    figures = measure(
        images, out, weights, latents=latents, mutations=mutations, most=most, jobs=jobs
    )
    for name in ("latents", "encoders"):
        typer.echo(f"{name:<10} {figures[name]['mismatches']} mismatches"
                   f" in {figures[name]['layers']} layers")  # fmt: skip
    typer.echo(f"mutated    {figures['mutated']['outcomes']}")
    typer.echo(f"real bits  {figures['real_bits']['all']}")


if __name__ == "__main__":
    app()
