"""The command line of the camera process: encode | inspect | run | config check | ...

Exit codes: 0 done; 1 some of several files were bad, a doctor found a fault, or an account does not
add up; 2 wrong usage or settings; 3 bad input (a source, a picture, weights); 4 the server was not
reached, or not all was delivered; 5 the server does not take this camera (token, certificate,
model). A reason goes to standard error.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from common.errors import (
    BadPicture,
    BadSettings,
    CorruptStream,
    GlimpseError,
    ModelMismatch,
    PermissionDenied,
    Unauthenticated,
    Unreachable,
)
from common.findings import Finding, verdict

if TYPE_CHECKING:
    from common.codec import MachineCodec
    from edge.settings import EdgeSettings

EXIT_CODES: dict[type[GlimpseError], int] = {
    BadSettings: 2,
    BadPicture: 3,
    CorruptStream: 3,
    ModelMismatch: 3,
    Unreachable: 4,
    Unauthenticated: 5,
    PermissionDenied: 5,
}
SOME_BAD = 1
REFUSED = 5

app = typer.Typer(
    help="The camera side of glimpse: frames become layers of a few hundred bytes, and go up.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

config_app = typer.Typer(help="Configuration files.", no_args_is_help=True)
app.add_typer(config_app, name="config")

Weights = Annotated[Path | None, typer.Option(help="Weights folder.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command()
def encode(
    photos: Annotated[list[Path], typer.Argument(help="Pictures, any size up to 4096 pixels.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for NAME.glimpse files.")],
    quality: Annotated[
        float | None,
        typer.Option(help="0 (fewest bytes) to 1; default 0.4.", show_default=False),
    ] = None,
    most: Annotated[
        int | None, typer.Option("--bytes", min=1, help="The best layer of at most N bytes.")
    ] = None,
    side: Annotated[
        int | None, typer.Option(help="Longer side to work at, a multiple of 32; default 640.")
    ] = None,
    profile: Annotated[
        Literal["detect", "recognise"],
        typer.Option(help="For boxes, or in far fewer bytes for which classes are in view."),
    ] = "detect",
    layers: Annotated[
        Literal["machine", "both"],
        typer.Option(help="The layer that machines need, or the one for people as well."),
    ] = "machine",
    auxiliary_quality: Annotated[
        float | None, typer.Option(help="Of the layer for people, 0 to 1; default 0.5.")
    ] = None,
    as_json: Json = False,
    weights: Weights = None,
) -> None:
    """Codes pictures into layer files, a line for each. A bad picture does not stop the others."""
    from edge.coding.encoder import open_encoder
    from edge.files import encode_file, outputs

    if quality is not None and most is not None:
        raise BadSettings("--quality and --bytes exclude each other")
    settings = _settings(
        quality=quality, side=side, weights=weights, auxiliary_quality=auxiliary_quality
    )
    targets = outputs(photos, out)
    auxiliary = None
    if layers == "both":
        from edge.pictures.auxiliary import open_auxiliary

        auxiliary = open_auxiliary(settings), settings.auxiliary_quality
    encoder = open_encoder(settings)
    task = encoder.profile(profile)
    _make_folder(out)
    jobs = zip(photos, targets, strict=True)
    _each(
        jobs,
        lambda job: encode_file(
            encoder, *job, profile=task, quality=settings.quality, most=most, auxiliary=auxiliary
        ),
        as_json=as_json,
    )


@app.command()
def inspect(
    files: Annotated[list[Path], typer.Argument(help="Layer files.")],
    as_json: Json = False,
    weights: Weights = None,
) -> None:
    """Shows what is in layer files: header, bytes by part, how many integers are not zero."""
    from edge.files import inspect_file

    codec = _codec(_settings(weights=weights))
    _each(files, lambda path: inspect_file(path, codec), as_json=as_json)


@app.command()
def run(
    camera: Annotated[
        str | None, typer.Option(help="Name of this camera; with --config, the one to run.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file for one camera or several; this runs one.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="Video file, picture, folder of pictures, URL (rtsp, http, ...) or V4L2 device; "
            "default: the demo camera."
        ),
    ] = None,
    server: Annotated[str | None, typer.Option(help="HOST:PORT of the server.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second; default 5.")] = None,
    quality: Annotated[float | None, typer.Option(help="0 to 1; default 0.4.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Wire bytes, such as '50 MB/day' or '10 kbit/s'.")
    ] = None,
    latency_target: Annotated[
        float | None, typer.Option(help="Seconds from capture to ack to work for.")
    ] = None,
    coalesce: Annotated[
        float | None, typer.Option(help="Seconds of frames in one message; default 0.")
    ] = None,
    gather: Annotated[
        float | None,
        typer.Option(help="Seconds of acks and boxes in one answer of the server's; default 0."),
    ] = None,
    quality_floor: Annotated[
        float | None, typer.Option(help="0 to 1: thin frames rather than go below; default 0.")
    ] = None,
    side: Annotated[int | None, typer.Option(help="Longer side to work at.")] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM file of the authority to trust.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with the token.")] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file of this camera's own certificate.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of its key.")] = None,
    spool: Annotated[
        Path | None, typer.Option(help="Folder of the queue on disk; default: in memory.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop capturing after so long.")] = None,
    loop: Annotated[
        bool | None, typer.Option("--loop", help="Begin again when the source ends.")
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Plaintext instead of TLS.")
    ] = None,
    boxes: Annotated[
        bool | None, typer.Option("--boxes/--no-boxes", help="Ask for boxes; default: yes.")
    ] = None,
    profile: Annotated[
        Literal["detect", "recognise", "adaptive"] | None,
        typer.Option(help="For boxes, for classes in view, or as the view asks; default: detect."),
    ] = None,
    auxiliary: Annotated[
        Literal["off", "with_frame", "later"] | None,
        typer.Option(help="What is kept for pictures that people may ask for; default off."),
    ] = None,
    reference_s: Annotated[
        float | None, typer.Option(help="Seconds between reference pictures; default 0: none.")
    ] = None,
    summary_file: Annotated[
        Path | None, typer.Option("--json", help="Write the summary into this file as JSON.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All cameras of --config, each a process of its own.")
    ] = False,
    weights: Weights = None,
) -> None:
    """Runs a camera: captures, encodes, spools, sends; ends with a summary.

    A setting is taken from its option, else from the environment (such as GLIMPSE_EDGE_SERVER),
    else from the configuration file. Several cameras are as many processes, one file for all:
    --all starts them, starts those again that die, and ends when they all have.
    """
    flags: dict[str, Any] = {
        "camera": camera, "source": source, "server": server, "fps": fps, "quality": quality,
        "side": side, "ca": ca, "token_file": token_file, "certificate": certificate, "key": key,
        "spool": spool, "seconds": seconds, "loop": loop, "insecure": insecure, "boxes": boxes,
        "weights": weights, "budget": budget, "latency_target_s": latency_target,
        "coalesce_s": coalesce, "gather_s": gather, "quality_floor": quality_floor,
        "profile": profile, "auxiliary": auxiliary, "reference_s": reference_s,
    }  # fmt: skip
    if not every:
        _run(_settings(config, **flags), summary_file)
        return
    if config is None or summary_file or any(value is not None for value in flags.values()):
        raise BadSettings("--all goes with --config and nothing else: the rest stands in the file")
    _run_all(config)


@app.command()
def ledger(
    spool: Annotated[Path, typer.Option(help="Folder of the spool.")],
    camera: Annotated[
        str | None, typer.Option(help="Only this camera; default: each that has a spool there.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Shows what became of each frame, run by run; exit code 1 if it does not add up.

    Works beside a running camera, whose frames in hand are told apart, and after a kill.
    """
    from edge.spool.account import read_accounts
    from edge.spool.account_text import as_dict, as_lines
    from edge.spool.sqlite import spool_file

    files = [spool_file(spool, camera)] if camera else sorted(spool.glob("*.sqlite"))
    if not files:
        raise BadSettings(f"there is no spool in {spool}")
    good = True
    for file in files:
        accounts = read_accounts(file)
        good &= all(account.adds_up for account in accounts)
        lines = [json.dumps(as_dict(file.stem, accounts))] if as_json else []
        print("\n".join(lines or as_lines(file.stem, accounts)))
    if not good:
        raise typer.Exit(1)


@app.command()
def doctor(
    camera: Annotated[str | None, typer.Option(help="Name of this camera.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file that describes it.")] = None,
    source: Annotated[str | None, typer.Option(help="As of `run`.")] = None,
    server: Annotated[str | None, typer.Option(help="HOST:PORT of the server.")] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM file of the authority to trust.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with the token.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file of its own.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of its key.")] = None,
    spool: Annotated[Path | None, typer.Option(help="Folder of the queue on disk.")] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Plaintext instead of TLS.")
    ] = None,
    upload: Annotated[
        int, typer.Option(min=0, max=1 << 20, help="Bytes to send for measuring; 0: none.")
    ] = 16_384,
    idle: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds to leave a connection silent.")
    ] = 0,
    as_json: Json = False,
    weights: Weights = None,
) -> None:
    """Looks at what a camera needs, from its lens to the server; exit code 1: something fails.

    Each line is ok, warn or fail, the last two with what to do. Settings are taken as `run` does.
    """
    from edge.doctor import examine
    from edge.link.doctor import Wish

    settings = _settings(
        config, camera=camera, source=source, server=server, ca=ca, token_file=token_file,
        certificate=certificate, key=key, spool=spool, insecure=insecure, weights=weights,
    )  # fmt: skip

    async def look() -> list[Finding]:
        found = []
        async for finding in examine(settings, Wish(None, upload=upload, idle_s=idle)):
            print(json.dumps(finding.as_dict()) if as_json else finding.line(), flush=True)
            found.append(finding)
        return found

    found = asyncio.run(look())
    if not as_json:
        print(verdict(found))
    if any(finding.level == "fail" for finding in found):
        raise typer.Exit(SOME_BAD)


@config_app.command()
def check(
    file: Annotated[Path, typer.Argument(help="YAML file for one camera or several.")],
) -> None:
    """Prints each camera's settings, secrets masked, and every fault; exit code 2 if there are any.

    The environment overrules the file here as it does in `run`.
    """
    from edge.configuration import read_configuration

    good, faults = read_configuration(file).check()
    for settings in good:
        print("\n  ".join([f"{settings.camera}:", *settings.lines()]))
    for fault in faults:
        _complain(BadSettings(fault))
    if faults:
        raise typer.Exit(exit_code(BadSettings()))


@app.command(name="demo-clip")
def demo_clip(
    source: Annotated[str | None, typer.Option(help="Take this instead.")] = None,
) -> None:
    """Prints the demo camera's clip; says on standard error where it came from."""
    clip, origin = _find_clip(_settings(source=source))
    print(f"demo camera: {origin}", file=sys.stderr)
    print(clip)


def main() -> None:
    """Runs the command line. An error of ours becomes one line and an exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # its own lines repeat ours
    try:
        app()
    except GlimpseError as error:
        _complain(error)
        sys.exit(exit_code(error))


def exit_code(error: GlimpseError) -> int:
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)


def _run(settings: EdgeSettings, summary_file: Path | None) -> None:
    from edge.display import Display, configure_logs, summary_lines
    from edge.run import run as run_camera

    display = Display()
    configure_logs(display)
    source = settings.source
    if source is None:
        source, origin = _find_clip(settings)
        display.print(f"demo camera: {origin}")
    display.print("settings  " + ", ".join(settings.lines()))
    report = asyncio.run(run_camera(settings, source, display))
    for line in summary_lines(report.summary):
        display.print(line)
    if summary_file is not None:
        _write(summary_file, json.dumps(report.summary, indent=2) + "\n")
    if report.error is not None:
        _complain(report.error)
        raise typer.Exit(REFUSED if report.refused else exit_code(report.error))


def _run_all(config: Path) -> None:
    from edge.configuration import read_configuration
    from edge.display import Display, configure_logs
    from edge.supervise import camera_command, supervise

    good, faults = read_configuration(config).check()
    for fault in faults:
        _complain(BadSettings(fault))
    if faults:
        raise typer.Exit(exit_code(BadSettings()))
    display = Display()
    configure_logs(display)
    commands = {own.camera: camera_command(str(config), own.camera) for own in good}
    if code := asyncio.run(supervise(commands, display.print)):
        raise typer.Exit(code)


def _each(jobs: Iterable[Any], work: Callable[[Any], Any], *, as_json: bool) -> None:
    """Prints each result; complains about each bad one and goes on."""
    bad = 0
    for job in jobs:
        try:
            result = work(job)
        except (BadPicture, CorruptStream) as error:
            _complain(error)
            bad += 1
            continue
        print(json.dumps(asdict(result)) if as_json else result.line(), flush=True)
    if bad:
        raise typer.Exit(SOME_BAD)


def _settings(config: Path | None = None, **flags: Any) -> EdgeSettings:
    from edge.settings import read_settings

    if config is not None:
        from edge.configuration import read_configuration

        return read_configuration(config).settings(flags.pop("camera"), **flags)
    return read_settings(**flags)


def _find_clip(settings: EdgeSettings) -> tuple[str, str]:
    from edge.capture.demo_camera import find_clip

    return find_clip(settings.source or settings.demo_clip, settings.cache)


def _codec(settings: EdgeSettings) -> MachineCodec | None:
    """None where there are no weights: a header can be read without."""
    from common.codec import MachineCodec
    from edge.coding.weights import load_weights

    if not (settings.weights / "manifest.json").exists():
        return None
    weights = load_weights(settings.weights)
    manifest = weights.manifest
    return MachineCodec(weights.entropy, manifest.model_id, factors=manifest.factors)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadSettings(f"{folder}: {error.strerror or error}") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror or error}") from error


def _complain(error: GlimpseError) -> None:
    print(f"glimpse-edge: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
