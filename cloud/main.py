"""The command line of the server: `glimpse-cloud serve | detect | watch | frames | token | ...`.

Exit codes: 0 done; 2 wrong usage or settings; 3 bad input (a layer, a photograph, weights);
4 the server was not reached; 5 it does not let us in. A reason goes to standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from common.errors import (
    BadPicture,
    BadSettings,
    CorruptStream,
    GlimpseError,
    ModelMismatch,
    PermissionDenied,
    RemoteProtocolError,
    Unauthenticated,
    Unreachable,
)

if TYPE_CHECKING:
    from cloud.client import Endpoint
    from cloud.detector import Detection

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The cloud side of glimpse: takes cameras' machine layers, stores them, detects on them.",
)

EXIT_CODES: dict[type[GlimpseError], int] = {
    BadSettings: 2,
    BadPicture: 3,
    CorruptStream: 3,
    ModelMismatch: 3,
    Unreachable: 4,
    Unauthenticated: 5,
    PermissionDenied: 5,
}

Role = Literal["camera", "viewer"]
Data = Annotated[Path, typer.Option(help="The server's data folder.")]
Weights = Annotated[Path | None, typer.Option(help="Weights folder [default: the one that ships].")]
Server = Annotated[str | None, typer.Option(help="HOST:PORT of a running server.")]


@app.command()
def serve(
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; port 0 takes a free one.")] = None,
    metrics_listen: Annotated[
        str | None, typer.Option(help="HOST:PORT of /metrics; '' for none.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder for store, certificates, tokens.")
    ] = None,
    weights: Weights = None,
    insecure: Annotated[bool, typer.Option(help="Plaintext instead of TLS.")] = False,
) -> None:
    """Run the server until SIGTERM or ctrl-C. Every setting is also an environment variable."""
    import structlog

    from cloud.server import serve as run
    from cloud.settings import read_settings

    settings = read_settings(
        listen=listen, metrics_listen=metrics_listen, data=data, weights=weights,
        insecure=insecure or None,
    )  # fmt: skip
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    structlog.get_logger().info("settings", **settings.model_dump(mode="json"))
    asyncio.run(run(settings))


@app.command()
def token(
    role: Annotated[Role, typer.Argument(help="What it may do: send layers, or look at boxes.")],
    name: Annotated[str, typer.Argument(help="1..64 of a-z 0-9 _ -")],
    data: Data = Path("data"),
) -> None:
    """Make a token for a camera or a viewer, and print it: it is kept nowhere else."""
    from cloud.identity import Identities
    from cloud.server import data_files

    try:
        secret = Identities(data_files(data)[1]).add(role, name)
    except RemoteProtocolError as error:  # a name that would be the peer's fault is ours here
        raise BadSettings(str(error)) from error
    typer.echo(secret)


@app.command()
def certificates(
    hosts: Annotated[list[str], typer.Argument(help="Names and addresses of the server.")],
    data: Data = Path("data"),
) -> None:
    """Make development certificates for these hosts in DATA/tls."""
    from cloud.certificates import make_certificates
    from cloud.server import data_files

    folder = data_files(data)[2].authority.parent
    files = make_certificates(folder, hosts, datetime.datetime.now(datetime.UTC))
    typer.echo(f"cameras and viewers trust {files.authority}")


@app.command()
def detect(
    files: Annotated[
        list[Path], typer.Argument(help="Machine layers, as `glimpse-edge encode` writes them.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    draw: Annotated[Path | None, typer.Option(help="Folder for pictures with the boxes.")] = None,
    photo: Annotated[
        Path | None, typer.Option(help="Draw on this photograph (one layer only).")
    ] = None,
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out boxes with a lower score.")
    ] = 0.3,
    weights: Weights = None,
) -> None:
    """Boxes of machine layers at hand; needs no server."""
    from cloud.detector import LayerDetector
    from cloud.lines import layer_json, layer_lines
    from cloud.weights import DEFAULT_WEIGHTS, load_weights

    if photo is not None and (len(files) != 1 or draw is None):
        raise BadSettings("--photo goes with --draw and one layer")
    detector = LayerDetector(load_weights(weights or DEFAULT_WEIGHTS), min_score=min_score)
    failed: GlimpseError | None = None
    for file in files:
        try:
            data = _read(file)
            detection = detector.detect(data)
        except (BadPicture, CorruptStream, ModelMismatch) as error:
            failed = error
            typer.echo(f"{file}: {error}", err=True)
            continue
        if as_json:
            typer.echo(json.dumps(layer_json(file, len(data), detector.model, detection)))
        else:
            typer.echo(layer_lines(file, len(data), detection))
        if draw is not None:
            typer.echo(f"  drawn on {_draw(draw, file, detection, photo)}", err=as_json)
    if failed is not None:
        raise typer.Exit(EXIT_CODES[type(failed)])


@app.command()
def watch(
    server: Annotated[str, typer.Option(help="HOST:PORT of the server.")] = "127.0.0.1:50051",
    camera: Annotated[
        list[str] | None, typer.Option(help="Only this camera; may be repeated.")
    ] = None,
    data: Data = Path("data"),
    ca: Annotated[
        Path | None, typer.Option(help="PEM to trust [default: DATA/tls/ca.pem].")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="Viewer token [default: DATA/viewer.token].")
    ] = None,
    insecure: Annotated[bool, typer.Option(help="Plaintext instead of TLS.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Follow cameras: a line for each frame with what is in view."""
    from cloud.client import Endpoint
    from cloud.server import data_files

    authority = ca or data_files(data)[2].authority
    secret = _read_text(token_file or data / "viewer.token")
    endpoint = Endpoint(server, None if insecure else authority, secret, insecure)
    asyncio.run(_watch(endpoint, camera or [], as_json))


@app.command()
def frames(
    data: Data = Path("data"),
    camera: Annotated[str | None, typer.Option(help="Only of this camera.")] = None,
    label: Annotated[str | None, typer.Option(help="Only with one of these in view.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List stored frames, newest first, from the server's data folder."""
    from cloud.lines import stored_json, stored_line
    from cloud.server import data_files
    from cloud.store import SqliteFrameStore

    path = data_files(data)[0]
    if not path.exists():
        raise BadSettings(f"{path}: no store here")
    with contextlib.closing(SqliteFrameStore(path)) as store:
        for stored in store.frames(camera=camera, label=label, limit=limit):
            typer.echo(json.dumps(stored_json(stored)) if as_json else stored_line(stored))


async def _watch(endpoint: Endpoint, cameras: Sequence[str], as_json: bool) -> None:
    from cloud.lines import watched_json, watched_line
    from glimpse.v1 import detection_pb2, detection_pb2_grpc

    async with endpoint.channel() as channel:
        stub = detection_pb2_grpc.DetectionServiceStub(channel)
        request = detection_pb2.WatchRequest(cameras=cameras)
        async for seen in stub.Watch(request, metadata=endpoint.metadata):
            typer.echo(json.dumps(watched_json(seen)) if as_json else watched_line(seen))


def _draw(folder: Path, file: Path, detection: Detection, photo: Path | None) -> Path:
    from cloud.drawing import draw_boxes, read_photo

    background = read_photo(photo) if photo else None
    header = detection.header
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{file.stem}.png"
    draw_boxes(header.width, header.height, detection.boxes, background).save(target)
    return target


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadPicture(error.strerror or str(error)) from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}") from error


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
