"""The command line of the server: `glimpse-cloud serve | detect | view | watch | frames | ...`.

Exit codes: 0 done; 2 wrong usage or settings; 3 bad input (a layer, a photograph, weights, a frame
that is not stored); 4 the server was not reached; 5 it does not let us in. A reason goes to
standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from common.errors import (
    BadPicture,
    BadSettings,
    BrokenChain,
    CorruptStream,
    GlimpseError,
    ModelMismatch,
    NotStored,
    PermissionDenied,
    RemoteProtocolError,
    Unauthenticated,
    Unreachable,
    WrongBase,
)
from common.types import FrameId

if TYPE_CHECKING:
    from cloud.lines import Looked
    from cloud.remote import Login
    from cloud.store.sqlite import SqliteFrameStore
    from common.codec import Coded
    from glimpse import Frame

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The cloud side of glimpse: takes cameras' machine layers, stores them, detects on them.",
)

events_app = typer.Typer(help="Events: rules, webhooks, MQTT.", no_args_is_help=True)
app.add_typer(events_app, name="events")

EXIT_CODES: dict[type[GlimpseError], int] = {
    BadSettings: 2,
    BadPicture: 3,
    CorruptStream: 3,
    BrokenChain: 3,
    WrongBase: 3,
    ModelMismatch: 3,
    NotStored: 3,
    Unreachable: 4,
    Unauthenticated: 5,
    PermissionDenied: 5,
}

Role = Literal["camera", "viewer"]
Data = Annotated[Path, typer.Option(help="The server's data folder.")]
Weights = Annotated[Path | None, typer.Option(help="Weights folder [default: the one that ships].")]
Server = Annotated[str | None, typer.Option(help="HOST:PORT of a running server to ask.")]
Authority = Annotated[Path | None, typer.Option(help="PEM to trust [default: DATA/tls/ca.pem].")]
TokenFile = Annotated[Path | None, typer.Option(help="Viewer token [default: DATA/viewer.token].")]
Insecure = Annotated[bool, typer.Option(help="Plaintext instead of TLS.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Moment = datetime.datetime | None
MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


@app.command()
def serve(
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = None,
    metrics_listen: Annotated[
        str | None, typer.Option(help="HOST:PORT of /metrics; '' for none.")
    ] = None,
    web_listen: Annotated[
        str | None, typer.Option(help="HOST:PORT of the viewer page; '' for none.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder for store, certificates, tokens.")
    ] = None,
    weights: Weights = None,
    insecure: Annotated[bool, typer.Option(help="Plaintext instead of TLS.")] = False,
) -> None:
    """Run the server until SIGTERM or ctrl-C. Every setting is also an environment variable."""
    import structlog

    from cloud.loglines import configure_logs
    from cloud.server import serve as run
    from cloud.settings import read_settings

    settings = read_settings(
        listen=listen, metrics_listen=metrics_listen, web_listen=web_listen, data=data,
        weights=weights, insecure=insecure or None,
    )  # fmt: skip
    configure_logs(sys.stderr)
    structlog.get_logger().info("settings", **settings.model_dump(mode="json"))
    asyncio.run(run(settings))


@app.command()
def health(
    listen: Annotated[str | None, typer.Option(help="HOST:PORT on which it listens.")] = None,
    data: Annotated[Path | None, typer.Option(help="The server's data folder.")] = None,
    insecure: Annotated[bool, typer.Option(help="It speaks plaintext.")] = False,
) -> None:
    """Ask the server of this machine and these settings whether it serves; exit code 4: no."""
    from cloud.health import check_health
    from cloud.settings import read_settings

    check_health(read_settings(listen=listen, data=data, insecure=insecure or None))
    typer.echo("SERVING")


@app.command()
def doctor(
    data: Annotated[Path | None, typer.Option(help="The server's data folder.")] = None,
    weights: Weights = None,
    insecure: Annotated[bool, typer.Option(help="It speaks plaintext.")] = False,
    as_json: Json = False,
) -> None:
    """Look at what a server needs, beside one that runs or before; exit code 1: something fails.

    Each line is ok, warn or fail, the last two with what to do. Settings are those of `serve`, from
    the environment.
    """
    from cloud.doctor import examine
    from cloud.settings import read_settings
    from common.findings import verdict

    found = []
    for finding in examine(read_settings(data=data, weights=weights, insecure=insecure or None)):
        typer.echo(json.dumps(finding.as_dict()) if as_json else finding.line())
        found.append(finding)
    if not as_json:
        typer.echo(verdict(found))
    if any(finding.level == "fail" for finding in found):
        raise typer.Exit(1)


@events_app.command(name="check")
def check_events(
    file: Annotated[Path, typer.Argument(help="YAML file with rules, webhooks and MQTT.")],
) -> None:
    """Say what goes where by this file, or what is wrong with it (exit code 2)."""
    from cloud.events.config import read_events
    from cloud.events.out import check_files

    config = read_events(file)
    check_files(config)
    typer.echo("\n".join(config.lines()))


@app.command()
def token(
    role: Annotated[Role, typer.Argument(help="What it may do: send layers, or look at boxes.")],
    name: Annotated[str, typer.Argument(help="1..64 of a-z 0-9 _ -")],
    data: Data = Path("data"),
) -> None:
    """Make a token for a camera or a viewer, and print it: it is kept nowhere else."""
    from cloud.access.identity import Identities
    from cloud.folder import data_files

    try:
        secret = Identities(data_files(data)[1]).add(role, name)
    except RemoteProtocolError as error:  # a name that would be the peer's fault is ours here
        raise BadSettings(str(error)) from error
    typer.echo(secret)


@app.command()
def certificates(
    hosts: Annotated[
        list[str] | None, typer.Argument(help="Names and addresses of the server.")
    ] = None,
    camera: Annotated[
        list[str] | None, typer.Option(help="One for this camera as well; may be repeated.")
    ] = None,
    withdraw: Annotated[
        list[Path] | None, typer.Option(help="A camera's certificate that is worth nothing now.")
    ] = None,
    data: Data = Path("data"),
) -> None:
    """Make certificates in DATA/tls: for a server of these hosts, for cameras, or for both.

    A running server takes the new ones by itself. With a certificate of its own a camera needs no
    token on the port of `mtls_listen`.
    """
    from cloud.access.certificates import make_camera_certificate, make_certificates
    from cloud.access.identity import Identities
    from cloud.access.shown import read_certificate
    from cloud.folder import data_files

    if not (hosts or camera or withdraw):
        raise BadSettings("certificates: for which hosts, or which --camera?")
    now = datetime.datetime.now(datetime.UTC)
    _, tokens, files = data_files(data)
    folder = files.authority.parent
    if hosts:
        make_certificates(folder, hosts, now)
        typer.echo(f"cameras and viewers trust {files.authority}")
    for name in camera or ():
        made = make_camera_certificate(folder, name, now)
        typer.echo(f"camera {name} shows {made.certificate} with {made.key}")
    for path in withdraw or ():
        try:
            name = Identities(tokens).withdraw(read_certificate(path.read_bytes()))
        except Unauthenticated as error:
            raise BadSettings(f"{path}: {error}") from error
        typer.echo(f"camera {name} is not let in with {path} any more")


@app.command()
def detect(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Machine layers, as `glimpse-edge encode` writes them; each inter layer after the "
            "one that it leans on."
        ),
    ],
    as_json: Json = False,
    draw: Annotated[Path | None, typer.Option(help="Folder for pictures with the boxes.")] = None,
    photo: Annotated[
        Path | None, typer.Option(help="Draw on this photograph (one layer only).")
    ] = None,
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out boxes with a lower score.")
    ] = 0.3,
    weights: Weights = None,
    server: Server = None,
    data: Data = Path("data"),
    ca: Authority = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
) -> None:
    """Boxes of machine layers at hand, or what is in view: by the weights at hand or a server's."""
    from cloud.lines import layer_json, layer_lines

    if photo is not None and (len(files) != 1 or draw is None):
        raise BadSettings("--photo goes with --draw and one layer")
    if server is not None and weights is not None:
        raise BadSettings("--weights goes without --server, which has its own")
    if server is None:
        looking = _looking_here(weights, min_score)
    else:
        from cloud.remote import Login

        looking = _looking_there(Login(server, data, ca, token_file, insecure), min_score)
    failed: GlimpseError | None = None
    with looking as look:
        for file in files:
            try:
                layer = _read(file)
                looked = look(layer)
            except (BadPicture, CorruptStream, ModelMismatch) as error:
                failed = error
                typer.echo(f"{file}: {error}", err=True)
                continue
            if as_json:
                typer.echo(json.dumps(layer_json(file, len(layer), looked)))
            else:
                typer.echo(layer_lines(file, len(layer), looked))
            if draw is not None:
                typer.echo(f"  drawn on {_draw(draw, file, looked, photo)}", err=as_json)
    if failed is not None:
        raise typer.Exit(EXIT_CODES[type(failed)])


@app.command()
def view(
    file: Annotated[Path, typer.Argument(help="A machine layer that leans on no other.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="PNG to write.")],
    auxiliary: Annotated[Path | None, typer.Option(help="Its auxiliary layer.")] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="An earlier still of the same camera; its machine layer is in it, or lies beside "
            "it, as STEM.glimpse."
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=0, max=8, help="Diffusion steps; 0: the faithful view.")
    ] = 0,
    fidelity: Annotated[
        float, typer.Option(min=0, max=1, help="How much of the faithful view stays.")
    ] = 0.65,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Chooses among plausible details.")
    ] = 0,
    like: Annotated[
        Path | None, typer.Option(help="The original: prints how like it the picture is.")
    ] = None,
    weights: Weights = None,
    human: Annotated[
        Path | None, typer.Option(help="The human decoder's weights [default: WEIGHTS/human].")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Make a picture for people from layers at hand. Detail beyond 0 steps is no evidence."""
    from cloud.folder import DEFAULT_WEIGHTS
    from cloud.pictures.values import Wish
    from cloud.pictures.viewing import Files, lines, load_decoder, progress_bar

    files, wish = Files(file, auxiliary, reference, like), Wish(steps, fidelity, seed)
    with progress_bar(steps) as on_step:
        decoding = load_decoder(weights or DEFAULT_WEIGHTS, human, device, threads)
        viewed = decoding.view(files, wish, on_step)
    out.write_bytes(viewed.png)
    typer.echo("\n".join(lines(viewed, file, out)))


@app.command()
def watch(
    server: Annotated[str, typer.Option(help="HOST:PORT of the server.")] = "127.0.0.1:50051",
    camera: Annotated[
        list[str] | None, typer.Option(help="Only this camera; may be repeated.")
    ] = None,
    data: Data = Path("data"),
    ca: Authority = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to go on trying while the server is away.")
    ] = 60.0,
    as_json: Json = False,
) -> None:
    """Follow cameras: a line for each frame with what is in view."""
    from cloud.lines import watched_json, watched_line
    from cloud.remote import Login

    told: list[object] = []

    def tell(fault: object) -> None:
        if not told:  # once for each time that it is away
            typer.echo(f"glimpse-cloud: {fault}; trying again", err=True)
        told.append(fault)

    with Login(server, data, ca, token_file, insecure, patience).client() as client:
        for seen in client.watch(camera or (), on_lost=tell):
            told.clear()
            typer.echo(json.dumps(watched_json(seen)) if as_json else watched_line(seen))


@app.command()
def frames(
    data: Data = Path("data"),
    camera: Annotated[str | None, typer.Option(help="Only of this camera.")] = None,
    label: Annotated[str | None, typer.Option(help="Only with one of these in view.")] = None,
    since: Annotated[Moment, typer.Option(formats=MOMENTS, help="Captured then or later.")] = None,
    until: Annotated[Moment, typer.Option(formats=MOMENTS, help="Captured before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 20,
    as_json: Json = False,
    server: Server = None,
    ca: Authority = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
) -> None:
    """List stored frames, newest first, from a server or from its data folder. Times are UTC."""
    from cloud.lines import as_frame, frame_json, frame_line

    first, end = _unix(since), _unix(until)
    with contextlib.ExitStack() as stack:
        found: Iterable[Frame]
        if server is None:
            store = stack.enter_context(_store(data, read_only=True))
            found = map(
                as_frame,
                store.frames(camera=camera, label=label, since=first, until=end, limit=limit),
            )
        else:
            from cloud.remote import Login

            login = Login(server, data, ca, token_file, insecure)
            client = stack.enter_context(login.client())
            found = client.frames(camera=camera, label=label, since=first, until=end, limit=limit)
        for frame in found:
            typer.echo(json.dumps(frame_json(frame)) if as_json else frame_line(frame))


@app.command()
def pin(
    frames: Annotated[list[str], typer.Argument(help="CAMERA/BOOT/SEQ, as `frames` lists them.")],
    off: Annotated[bool, typer.Option("--off", help="Let them expire again.")] = False,
    data: Data = Path("data"),
) -> None:
    """Keep stored frames whatever their age; in the server's data folder, while it runs too."""
    import glimpse

    try:
        names = [FrameId(*astuple(glimpse.FrameId.parse(text))) for text in frames]
    except (ValueError, RemoteProtocolError) as error:
        raise BadSettings(str(error)) from error
    with _store(data) as store:
        missing = [str(name) for name in names if not store.pin(name, not off)]
    if missing:
        raise NotStored(f"not stored: {', '.join(missing)}")


def _unix(moment: Moment) -> float | None:
    return None if moment is None else moment.replace(tzinfo=datetime.UTC).timestamp()


@contextlib.contextmanager
def _store(data: Path, *, read_only: bool = False) -> Iterator[SqliteFrameStore]:
    from cloud.folder import data_files
    from cloud.store.sqlite import SqliteFrameStore

    path = data_files(data)[0]
    if not path.exists():
        raise BadSettings(f"{path}: no store here")
    with contextlib.closing(SqliteFrameStore(path, read_only=read_only)) as store:
        yield store


@contextlib.contextmanager
def _looking_here(weights: Path | None, min_score: float) -> Iterator[Callable[[bytes], Looked]]:
    from cloud.detector import LayerDetector
    from cloud.folder import DEFAULT_WEIGHTS
    from cloud.lines import Looked
    from cloud.weights import load_weights

    detector = LayerDetector(load_weights(weights or DEFAULT_WEIGHTS), min_score=min_score)

    last: Coded | None = None

    def look(layer: bytes) -> Looked:
        nonlocal last
        last = detector.read(layer, last)
        [detection] = detector.detect_read([last])
        header = detection.header
        return Looked(
            header.width, header.height, detector.model, detection.boxes, detection.presences
        )

    yield look


@contextlib.contextmanager
def _looking_there(login: Login, min_score: float) -> Iterator[Callable[[bytes], Looked]]:
    from cloud.lines import Looked
    from cloud.remote import errors_as_ours, our_boxes

    with login.client() as client:

        def look(layer: bytes) -> Looked:
            with errors_as_ours():
                seen = client.detect(layer, min_score=min_score)
            model, boxes = f"{seen.model_id:04x}", our_boxes(seen.boxes)
            return Looked(seen.width, seen.height, model, boxes, seen.presences)

        yield look


def _draw(folder: Path, file: Path, looked: Looked, photo: Path | None) -> Path:
    from cloud.drawing import draw_boxes, read_photo

    background = read_photo(photo) if photo else None
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{file.stem}.png"
    draw_boxes(looked.width, looked.height, looked.boxes, background).save(target)
    return target


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadPicture(error.strerror or str(error)) from error


def main() -> None:
    """The console script: our errors become one line and an exit code, never a traceback."""
    try:
        app()
    except GlimpseError as error:
        typer.echo(f"glimpse-cloud: {error}", err=True)
        sys.exit(EXIT_CODES.get(type(error), 1))
    except OSError as error:  # a folder that cannot be written, say
        typer.echo(f"glimpse-cloud: {error.filename}: {error.strerror}", err=True)
        sys.exit(EXIT_CODES[BadSettings])
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
