"""python -m bench: each figure that the README quotes; `--help` names the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edge.coding.weights import DEFAULT_WEIGHTS

PIXEL = DEFAULT_WEIGHTS / "pixel"  # the pixel detector that ships

app = typer.Typer(no_args_is_help=True, help="Measure glimpse; results land in docs/results.")

Out = Annotated[Path, typer.Option(help="Folder for the JSON and the plot.")]
Weights = Annotated[Path, typer.Option(help="Weights folder.")]
Kept = Annotated[
    Path, typer.Option(help="Folder where opponents' results are kept for the next time.")
]


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
    kept: Kept = Path("cache/rate-accuracy"),
) -> None:
    """Bytes on disk against mAP, ours and the opponents', from picture files to boxes."""
    from rich.console import Console

    from bench.accuracy.rate_accuracy import Runs
    from bench.accuracy.rate_accuracy import rate_accuracy as measure
    from bench.accuracy.rate_table import tables
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
def scale(
    dataset: Annotated[Path, typer.Option(help="COCO JSON file.")],
    images: Annotated[Path, typer.Option(help="Folder of its pictures.")],
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    most: Annotated[int | None, typer.Option(min=1, help="Only the first pictures.")] = None,
    draws: Annotated[int, typer.Option(min=0, help="Bootstrap draws for the interval.")] = 200,
) -> None:
    """Trained gains against one scale for all channels: bytes on disk against mAP."""
    from bench.accuracy.scale import scale as measure
    from common.errors import BadSettings

    try:
        figures = measure(dataset, images, out, weights, most=most, draw_count=draws)
    except BadSettings as error:
        raise typer.BadParameter(str(error)) from error
    for p in figures["points"]:
        typer.echo(
            f"{p['rate']:<8} quality {p['quality']:<5g} {p['mean_bytes']:7.1f} B"
            f"  mAP {p['map']:.1%}  mAP50 {p['map50']:.1%}"
        )
    typer.echo(f"gains against scale, bytes at equal mAP: {figures['bd_rate_map']}")


@app.command(name="single-rate")
def single_rate(
    dataset: Annotated[Path, typer.Option(help="COCO JSON file.")],
    images: Annotated[Path, typer.Option(help="Folder of its pictures.")],
    single: Annotated[
        list[str],
        typer.Option(help="QUALITY=FOLDER: weights of `train machine --quality`; repeatable."),
    ],
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    most: Annotated[int | None, typer.Option(min=1, help="Only the first pictures.")] = None,
    draws: Annotated[int, typer.Option(min=0, help="Bootstrap draws for the intervals.")] = 200,
) -> None:
    """What one model for all rates loses against models of a single rate each."""
    from bench.accuracy.single_rate import single_rate as measure
    from common.errors import GlimpseError

    folders = {}
    for text in single:
        quality, _, folder = text.partition("=")
        try:
            folders[float(quality)] = Path(folder)
        except ValueError:
            raise typer.BadParameter(f"{text}: not QUALITY=FOLDER") from None
        if not (folder and 0 <= float(quality) <= 1):
            raise typer.BadParameter(f"{text}: not QUALITY=FOLDER with a quality in 0..1")
    try:
        figures = measure(dataset, images, out, weights, folders, most=most, draw_count=draws)
    except (GlimpseError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from error
    for p in figures["single"]:
        typer.echo(
            f"single {p['quality']:<6g} {p['mean_bytes']:7.1f} B  mAP {p['map']:.1%}"
            f"  variable: bytes {p['bytes_percent']}  mAP {p['map_difference']}"
        )


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
    from bench.accuracy.recognise import recognise as measure
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


@app.command(name="rate-quality")
def rate_quality(
    images: Annotated[Path, typer.Option(help="Folder of pictures.")],
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    dataset: Annotated[
        Path | None, typer.Option(help="COCO JSON of these pictures, to score a detector on them.")
    ] = None,
    pixel_run: Annotated[
        Path | None, typer.Option(help="Folder of `train pixel`: that detector.")
    ] = None,
    most: Annotated[int | None, typer.Option(min=1, help="Only the first pictures.")] = None,
    draws: Annotated[int, typer.Option(min=0, help="Bootstrap draws for the intervals.")] = 200,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
) -> None:
    """Bytes on disk against the likeness of pictures for people, ours and the image codecs'."""
    from bench.pictures.plot import plot
    from bench.pictures.rate_quality import rate_quality as measure
    from common.errors import GlimpseError

    try:
        figures = measure(
            images, out, weights, most=most, jobs=jobs, draw_count=draws,
            dataset=dataset, pixel_run=pixel_run,
        )  # fmt: skip
    except (GlimpseError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from None
    plot(figures, out / f"rate_quality_{images.name}.png")
    for p in figures["points"]:
        typer.echo(
            f"{p['codec']:<24}{p['setting']:<6}{p['steps']} steps {p['mean_bytes']:9.0f} B"
            f" {p['bpp']:.4f} bpp  PSNR {p['psnr']:5.2f}  MS-SSIM {p['ms_ssim']:.4f}"
            f"  SSIMULACRA2 {p['ssimulacra2']:6.1f}  SWD {p['swd']:6.1f}"
            + (f"  mAP50 {p['map50']:.1%}" if "map50" in p else "")
        )
    for metric, curves in figures["bd_rate"].items():
        for codec, compared in curves.items():
            said = compared["percent"] if compared["percent"] is not None else compared["note"]
            typer.echo(f"BD-rate, {metric:<12} against {codec:<13} {said}")


@app.command()
def reference(
    clip: Annotated[list[Path], typer.Option(help="Clip of a fixed camera; repeatable.")],
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    pixel_run: Annotated[
        Path, typer.Option(help="Folder of `train pixel`, whose detector looks at the pictures.")
    ] = PIXEL,
    seconds: Annotated[float, typer.Option(min=1, help="Of each clip's second half.")] = 30.0,
) -> None:
    """A fixed camera's pictures from layers and one still an hour, against x265."""
    from bench.pictures.reference import reference as measure
    from common.errors import GlimpseError

    try:
        figures = measure(clip, out, weights, pixel_run, seconds=seconds)
    except (GlimpseError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from None
    for row in figures["clips"]:
        typer.echo(f"{row['clip']}, quality {row['quality']:g}")
        for p in row["points"]:
            typer.echo(
                f"  {p['name']:<26}{p['kbit_s']:8.2f} kbit/s  PSNR {p['psnr']:5.2f}"
                f"  MS-SSIM {p['ms_ssim']:.4f}  SSIMULACRA2 {p['ssimulacra2']:6.1f}"
                + (f"  boxes {p['agreement']:.0%}" if "agreement" in p else "")
            )


@app.command()
def ablation(
    images: Annotated[Path, typer.Option(help="Folder of pictures to measure on.")],
    pictures: Annotated[list[Path], typer.Option(help="Folder of training pictures; repeatable.")],
    run: Annotated[Path, typer.Option(help="Folder of the machine run below.")] = Path(
        "runs/machine"
    ),
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    most: Annotated[int | None, typer.Option(min=1, help="Only the first pictures.")] = None,
) -> None:
    """The auxiliary codec with and without the machine layer below it."""
    from bench.pictures.ablation import WAYS
    from bench.pictures.ablation import ablation as measure

    figures = measure(images, pictures, run, out, weights, most=most)
    for p in figures["points"]:
        said = [f"{way} {p[way]['bytes']:8.0f} B {p[way]['psnr']:.2f} dB" for way in WAYS]
        typer.echo(f"quality {p['quality']:<4} {'   '.join(said)}")
    percent = figures["together_against_apart_percent"]
    typer.echo(f"together against apart, bytes at equal PSNR: {percent} %")


@app.command(name="contact-sheet")
def contact_sheet(
    picture: Annotated[list[Path], typer.Option(help="Picture; repeatable.")],
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path(
        "docs/results/contact_sheet.png"
    ),
    weights: Weights = DEFAULT_WEIGHTS,
) -> None:
    """Pictures side by side at the same bytes: original, JPEG, WebP, AVIF, ours."""
    from bench.pictures.contact_sheet import contact_sheet as draw

    draw(picture, weights, out)
    typer.echo(str(out))


@app.command()
def decode(
    picture: Annotated[Path, typer.Option(help="Any picture; it is scaled.")],
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    repeats: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Time and memory of the human decoder by picture size and steps."""
    from bench.pictures.decode import decode as measure

    for p in measure(picture, out, weights, device=device, repeats=repeats)["points"]:
        size = "x".join(map(str, p["size"]))
        typer.echo(f"{size:<10} {p['steps']} steps {p['seconds']:7.3f} s  {p['peak_mb']} MB")


@app.command()
def video(
    clip: Annotated[list[Path], typer.Option(help="Clip of a fixed camera; repeatable.")],
    pixel_run: Annotated[
        Path, typer.Option(help="Folder of `train pixel`, whose detector looks at the videos.")
    ] = PIXEL,
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    fps: Annotated[float, typer.Option(min=0.1, max=120)] = 5.0,
    seconds: Annotated[float, typer.Option(min=1, help="Of each clip.")] = 30.0,
    codec: Annotated[
        list[str] | None, typer.Option(help="Only this video codec: x265 or svt-av1; repeatable.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    kept: Kept = Path("cache/video"),
) -> None:
    """Our intra and inter layers against x265 and SVT-AV1: bytes at equal detection."""
    from rich.console import Console

    from bench.video.codecs import VIDEO_CODECS
    from bench.video.table import tables
    from bench.video.video import video as measure
    from common.errors import GlimpseError

    try:
        figures = measure(
            clip, out, weights, pixel_run, fps=fps, seconds=seconds, jobs=jobs,
            codecs=codec or tuple(VIDEO_CODECS), kept=kept,
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
        Path,
        typer.Option(help="Folder of `train pixel`: the whole detector on the edge beside it."),
    ] = PIXEL,
    frames: Annotated[int, typer.Option(min=1)] = 40,
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Time and memory of encoding a frame, beside JPEG, WebP, AVIF and a detector on the edge."""
    from bench.edge.edge import edge as measure

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
    from bench.accuracy.precision import precision as measure

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
    ] = 60.0,
    only: Annotated[
        list[str] | None, typer.Option(help="Only traces whose name contains this; repeatable.")
    ] = None,
) -> None:
    """Wire bytes, frames, quality and latency over thin links, by real processes."""
    from bench.service.link import link as measure

    for t in measure(source, out, weights, seconds, only or [])["traces"]:
        typer.echo(
            f"{t['trace']:<50} {t['wire_bit_s']:7d} bit/s  {t['fps']:.2f} fps"
            f" (steady {t['steady_fps']:.2f})  quality {t['quality']}"
            f"  p50 {t['latency_ms']['p50']} ms  {t['ledger']}"
        )


@app.command()
def faults(
    source: Annotated[
        str | None, typer.Option(help="Video file or folder of pictures; default: a made film.")
    ] = None,
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    rounds: Annotated[int, typer.Option(min=1, help="One fault each.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the faults, their order and their moments.")] = 1,
    cameras: Annotated[int, typer.Option(min=1, max=16)] = 2,
    fps: Annotated[float, typer.Option(min=0.5, max=60, help="Of each camera.")] = 5.0,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this fault, such as kill_server; repeatable.")
    ] = None,
) -> None:
    """Kills, cuts, full and slow disks, wrong clocks: what is lost, and how soon all goes on."""
    from bench.service.faults import FAULTS, holds
    from bench.service.faults import faults as measure
    from bench.service.house import Broken

    if unknown := set(only or ()) - FAULTS.keys():
        raise typer.BadParameter(f"{', '.join(unknown)}: to be of {', '.join(FAULTS)}")
    try:
        figures = measure(
            source, out, weights, rounds=rounds, seed=seed, cameras=cameras, fps=fps,
            only=only or (),
        )  # fmt: skip
    except Broken as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    for name, figure in figures.items():
        typer.echo(f"{name:<20} {figure}")
    if not holds(figures):
        raise typer.Exit(1)


@app.command()
def service(
    source: Annotated[str, typer.Option(help="Video file or folder of pictures.")],
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    cameras: Annotated[int, typer.Option(min=1, help="Camera processes.")] = 1,
    fps: Annotated[float, typer.Option(min=0.1, max=120, help="Of each camera.")] = 5.0,
    seconds: Annotated[float, typer.Option(min=2, help="Of the run, and of each step.")] = 60.0,
    find_most: Annotated[
        bool, typer.Option("--find-most", help="Also look for the most streams that hold.")
    ] = False,
) -> None:
    """Capture to boxes by stage, the server's processor time and memory, the most streams."""
    from bench.service.service import service as measure

    figures = measure(
        source, out, weights, cameras=cameras, fps=fps, seconds=seconds, find_most=find_most
    )
    for name, figure in figures.items():
        typer.echo(f"{name:<22} {figure}")


@app.command()
def flat(
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    frames: Annotated[int, typer.Option(min=100)] = 50_000,
    calls: Annotated[int, typer.Option(min=100, help="Watch calls that are cancelled.")] = 20_000,
    fps: Annotated[float, typer.Option(min=1, max=120)] = 60.0,
) -> None:
    """Memory and open files of both processes over many frames and cancelled viewers' calls."""
    from tempfile import TemporaryDirectory

    from bench.service.flat import flat as measure

    with TemporaryDirectory(prefix="glimpse-flat-") as folder:
        figures = measure(Path(folder), out, weights, frames=frames, calls=calls, fps=fps)
    for name in ("server", "camera", "server_calls"):
        typer.echo(f"{name:<13} {figures[name]}")


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
    from bench.service.viewers import viewers as measure

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
def clicks(
    out: Out = Path("docs/results"),
    weights: Weights = DEFAULT_WEIGHTS,
    count: Annotated[int, typer.Option(min=1, help="Cold clicks, and as many warm ones.")] = 20,
) -> None:
    """From a click on a frame to the first progress, the preview and the picture."""
    from bench.service.clicks import clicks as measure

    figures = measure(out, weights, count=count)
    for name in ("cold", "warm"):
        said = [
            f"{what} p50 {ms['p50']} ms, p95 {ms['p95']} ms"
            for what in ("first", "preview", "picture")
            if (ms := figures[name].get(f"{what}_ms"))
        ]
        typer.echo(f"{name} ({figures[name]['clicks']})  {'   '.join(said)}")


@app.command()
def dashboards(
    source: Annotated[
        list[str] | None,
        typer.Option(help="Video file or folder, a camera each; repeatable. Default: the demo's."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("docs/images"),
    seconds: Annotated[float, typer.Option(min=10, help="How long they are watched.")] = 90.0,
    fps: Annotated[float, typer.Option(min=0.1, max=120, help="Of each camera.")] = 4.0,
) -> None:
    """The shipped dashboards as pictures, of real processes and a real Prometheus."""
    from bench.service.dashboards import dashboards as draw
    from bench.service.observed import NAMES
    from common.errors import BadSettings

    if len(source or ()) > len(NAMES):
        raise typer.BadParameter(f"at most {len(NAMES)} sources")
    try:
        files = draw(source or (), out, seconds=seconds, fps=fps)
    except BadSettings as error:
        raise typer.BadParameter(str(error)) from None
    for file in files:
        typer.echo(f"{file}  {file.stat().st_size / 1000:.0f} kB")


@app.command()
def page(
    source: Annotated[
        str | None, typer.Option(help="Video file or folder. Default: the demo's clip.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("docs/images"),
    weights: Weights = DEFAULT_WEIGHTS,
    seconds: Annotated[float, typer.Option(min=1, help="How long the camera runs before.")] = 15.0,
) -> None:
    """The viewer page as pictures: a real camera's boxes, and a frame that somebody opens."""
    from bench.service.page import page as take
    from common.errors import BadSettings

    try:
        files = take(source, out, weights, seconds=seconds)
    except BadSettings as error:
        raise typer.BadParameter(str(error)) from None
    for file in files:
        typer.echo(f"{file}  {file.stat().st_size / 1000:.0f} kB")


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
    from bench.coder.determinism import determinism as measure

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
