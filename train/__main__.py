"""python -m train {pixel,machine,recognise,auxiliary,fusion,prior,...}: what both sides run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from train.machine import Recipe, threads, train

app = typer.Typer(no_args_is_help=True, help="Train glimpse's networks on a COCO-format folder.")

Data = Annotated[Path, typer.Option(help="Folder with train.json, val.json, train/, val/.")]
Minutes = Annotated[float, typer.Option(help="Training time; the schedule fits itself to it.")]
Out = Annotated[Path, typer.Option(help="Checkpoints and log; resumed if it holds a checkpoint.")]
Start = Annotated[Path | None, typer.Option(help="Checkpoint whose weights to begin with.")]
Evaluate = Annotated[float, typer.Option(help="Minutes of training between two evaluations.")]
Pictures = Annotated[list[Path], typer.Option(help="Folder of pictures; repeatable.")]
Below = Annotated[Path, typer.Option(help="Folder of the machine run that is below.")]
Tables = Annotated[
    Path, typer.Option("--auxiliary", help="Folder of the auxiliary codec's tables.")
]
Still = Annotated[
    list[Path] | None,
    typer.Option(help="Clip of a fixed camera; its first half shows what references are."),
]
Marked = Annotated[
    Path | None,
    typer.Option(
        "--data", help="COCO folder: what is marked in those of the pictures comes and goes."
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto.")]


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@app.command()
def pixel(
    data: Data,
    out: Out = Path("runs/pixel"),
    minutes: Minutes = 60,
    start: Start = None,
    batch: int = 16,
    evaluate_every: Evaluate = 20,
    device: Device = "auto",
    compressed: Annotated[
        bool, typer.Option(help="Train on pictures that went through image codecs too.")
    ] = False,
) -> None:
    """The detector without a bottleneck: the codec's start, and the bench's fair opponent."""
    threads()
    train(
        Recipe(
            bottleneck=False,
            compressed=compressed,
            minutes=minutes,
            batch=batch,
            evaluate_every=evaluate_every,
        ),
        data,
        out,
        start,
        _device(device),
    )


@app.command()
def machine(
    data: Data,
    out: Out = Path("runs/machine"),
    minutes: Minutes = 60,
    start: Start = None,
    batch: int = 16,
    evaluate_every: Evaluate = 20,
    quality: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="A single-rate model of this quality, not of all."),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Folder of a pixel run whose findings it is to share.")
    ] = None,
    device: Device = "auto",
) -> None:
    """The machine codec with its detector, all qualities at once."""
    threads()
    train(
        Recipe(minutes=minutes, batch=batch, evaluate_every=evaluate_every, quality=quality),
        data,
        out,
        start,
        _device(device),
        teacher,
    )


@app.command()
def recognise(
    data: Data,
    run: Annotated[
        Path, typer.Option(help="Folder of the machine run whose trunk is taken.")
    ] = Path("runs/machine"),
    out: Out = Path("runs/recognise"),
    minutes: Minutes = 10,
    views: Annotated[
        int, typer.Option(min=1, help="Latents made of each picture before, a minute or two each.")
    ] = 4,
    evaluate_every: Evaluate = 5,
    device: Device = "auto",
) -> None:
    """The recognise profile on a finished machine run: which classes are in view."""
    from train.recognise import Recipe as Recognise
    from train.recognise import train as train_recognise

    threads()
    recipe = Recognise(minutes=minutes, views=views, evaluate_every=evaluate_every)
    train_recognise(recipe, data, run, out, _device(device))


@app.command()
def auxiliary(
    pictures: Pictures,
    run: Below = Path("runs/machine"),
    out: Annotated[Path, typer.Option(help="Folder for the tables.")] = Path("runs/auxiliary"),
    count: Annotated[int, typer.Option(min=1, help="So many pictures are looked at.")] = 400,
) -> None:
    """The auxiliary codec's tables: minutes, and no network."""
    from train.auxiliary import fit, sights
    from train.human import write_tables

    threads()
    write_tables(fit(list(sights(pictures, run, count))), out)
    typer.echo(str(out))


@app.command()
def fusion(
    pictures: Pictures,
    run: Below = Path("runs/machine"),
    auxiliary_run: Tables = Path("runs/auxiliary"),
    out: Out = Path("runs/fusion"),
    start: Annotated[
        Path | None,
        typer.Option(help="Checkpoint, or shipped fusion.safetensors, to begin with."),
    ] = None,
    minutes: Minutes = 60,
    batch: int = 8,
    clip: Still = None,
    data: Marked = None,
    device: Device = "auto",
) -> None:
    """The human decoder's first half: machine latent, auxiliary layer, reference -> preview."""
    from train.fusion import Recipe as Fusing
    from train.fusion import train as train_fusion

    threads()
    recipe = Fusing(minutes=minutes, batch=batch)
    below = (run, auxiliary_run)
    train_fusion(recipe, pictures, clip or (), *below, out, _device(device), start, data)


@app.command()
def prior(
    pictures: Pictures,
    run: Below = Path("runs/machine"),
    auxiliary_run: Tables = Path("runs/auxiliary"),
    fusion_run: Annotated[
        Path, typer.Option("--fusion", help="Folder of the fusion run whose previews are refined.")
    ] = Path("runs/fusion"),
    out: Out = Path("runs/prior"),
    start: Annotated[
        Path | None, typer.Option(help="Checkpoint, or shipped folder prior/, to begin with.")
    ] = None,
    minutes: Minutes = 60,
    batch: int = 16,
    clip: Still = None,
    data: Marked = None,
    device: Device = "auto",
) -> None:
    """The human decoder's second half: preview -> a picture with likely detail."""
    from train.prior import Recipe as Refining
    from train.prior import train as train_prior

    threads()
    recipe = Refining(minutes=minutes, batch=batch)
    below = (run, auxiliary_run, fusion_run)
    train_prior(recipe, pictures, clip or (), *below, out, _device(device), start, data)


@app.command()
def human(
    run: Below = Path("runs/machine"),
    auxiliary_run: Tables = Path("runs/auxiliary"),
    fusion_run: Annotated[Path, typer.Option("--fusion", help="Folder of the fusion run.")] = Path(
        "runs/fusion"
    ),
    prior_run: Annotated[
        Path | None, typer.Option("--prior", help="Folder of the prior's run; none: no steps.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Weights folder that holds the machine codec below.")
    ] = Path("weights"),
    name: Annotated[str, typer.Option(help="The decoder's name.")] = "glimpse-human",
) -> None:
    """Exports the human decoder into a weights folder."""
    from train.human import export as write

    manifest = write(run, auxiliary_run, fusion_run, prior_run, out, name)
    typer.echo(f"{out / 'human'}: decoder {manifest.name} {manifest.model_id:04x}")


@app.command()
def peer(
    data: Data,
    out: Out = Path("runs/peer"),
    minutes: Minutes = 60,
    lambdas: Annotated[
        list[float] | None, typer.Option(help="Distortion's weights, a network each; repeatable.")
    ] = None,
    device: Device = "auto",
) -> None:
    """The bench's learned opponent: CompressAI's mbt2018-mean, the minutes shared out."""
    from train.peer import LAMBDAS, PeerRecipe, train_peers

    threads()
    wanted = sorted(lambdas or LAMBDAS, reverse=True)
    if not train_peers(PeerRecipe(minutes=minutes), wanted, data, out, _device(device)):
        typer.echo(f"{out}: stopped; the same command goes on")


@app.command()
def export(
    data: Data,
    run: Annotated[Path, typer.Option(help="Folder of the finished run.")] = Path("runs/machine"),
    out: Annotated[Path, typer.Option(help="Weights folder to write.")] = Path("weights"),
    name: Annotated[str, typer.Option(help="The model's name.")] = "glimpse-streets",
    clip: Annotated[
        list[Path] | None,
        typer.Option(help="Clip of a fixed camera; its first half counts for inter tables."),
    ] = None,
    recogniser: Annotated[
        Path | None,
        typer.Option(help="Folder of a run of the recognise profile on the same trunk."),
    ] = None,
) -> None:
    """Exports a run to what edge and cloud load; counts the entropy tables on train."""
    from train.export import export as write

    manifest = write(run, data, out, name, clip or (), recogniser=recogniser)
    typer.echo(f"{out}: model {manifest.name} {manifest.model_id:04x}")


@app.command()
def lower(
    levels: Annotated[
        float, typer.Option(min=0, max=1, help="By so much of the step between two anchors.")
    ],
    run: Annotated[Path, typer.Option(help="Folder of the machine run.")] = Path("runs/machine"),
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("runs/lower"),
) -> None:
    """A codec whose quality 0 takes fewer bytes than was trained, and finds less."""
    from train.lower import lower as write

    write(run, levels, out)
    typer.echo(str(out / "last.pt"))


@app.command()
def lean(
    data: Data,
    depths: Annotated[
        tuple[int, int, int], typer.Option(help="Bottlenecks of the encoder at 1/4, 1/8, 1/16.")
    ],
    run: Annotated[Path, typer.Option(help="Folder of the machine run.")] = Path("runs/machine"),
    out: Out = Path("runs/lean"),
    minutes: Minutes = 20,
    batch: int = 16,
    device: Device = "auto",
) -> None:
    """A codec with a smaller encoder, taught the other's latent: a start for `train machine`."""
    from train.lean import lean as write

    threads()
    write(run, depths, Recipe(minutes=minutes, batch=batch), data, out, _device(device))


@app.command()
def opponent(
    run: Annotated[Path, typer.Option(help="Folder of the pixel run.")] = Path("runs/pixel"),
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("weights/pixel"),
) -> None:
    """A pixel run as it ships: for the benches, as a teacher, as a start; a fifth of its size."""
    from train.export import export_pixel

    export_pixel(run, out)
    typer.echo(str(out / "last.pt"))


@app.command()
def restore(
    data: Data,
    weights: Annotated[Path, typer.Option(help="Weights folder to go on from.")] = Path("weights"),
    out: Annotated[Path, typer.Option(help="Folder for the run's checkpoint.")] = Path(
        "runs/shipped"
    ),
    steps: Annotated[
        int, typer.Option(min=0, help="Of the rate proxies, half a second each.")
    ] = 200,
) -> None:
    """A weights folder back into a run, for --start and --run: to train on with your own data."""
    from train.restore import restore as write

    threads()
    write(weights, data, out, steps)
    typer.echo(str(out / "last.pt"))


@app.command()
def plot(
    run: Annotated[Path, typer.Option(help="Folder of a run.")] = Path("runs/machine"),
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("docs/results/training.png"),
) -> None:
    """Draws losses, rate and accuracy over training time."""
    from train.plot import plot as draw

    draw(run, out)
    typer.echo(str(out))


if __name__ == "__main__":
    app()
