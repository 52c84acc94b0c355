"""The camera process's settings: one frozen object, read once.

A value comes from a flag, else from the environment, else from the configuration file, else it is
the default.
"""

from __future__ import annotations

import difflib
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from common.errors import BadSettings
from edge.capture.address import shown
from edge.capture.masks import Point, mask_faults
from edge.coding.profile import ProfileSetting
from edge.coding.providers import Precision, Provider
from edge.coding.weights import DEFAULT_WEIGHTS
from edge.link import Link
from edge.pictures.keeper import Mode
from edge.rate import MOST_COALESCE_S, Limits
from edge.rate.budget import parse_budget

_PREFIX = "GLIMPSE_EDGE_"
_SIDE = Field(640, ge=32, le=4096, multiple_of=32)


def _cache_folder() -> Path:
    """$XDG_CACHE_HOME/glimpse, by default ~/.cache/glimpse."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "glimpse"


class EdgeSettings(BaseSettings):
    """Each field is also an environment variable: GLIMPSE_EDGE_ and the name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="forbid", populate_by_name=True
    )

    camera: str = Field(
        "camera",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        description="Name of this camera: 1 to 64 of a-z, 0-9, _ and -.",
    )
    source: str | None = Field(
        None,
        description="A video file, a picture, a folder of pictures, a URL (rtsp, rtsps, http, "
        "https, tcp, udp) or a V4L2 device such as /dev/video0; none: the demo camera.",
    )
    source_options: dict[str, Annotated[str, Field(coerce_numbers_to_str=True)]] = Field(
        default_factory=dict,
        description="Options of FFmpeg's reader for a URL or a device, such as video_size.",
    )
    open_deadline_s: float = Field(
        20.0, gt=0, le=600, description="Seconds for a URL or a device to give its first picture."
    )
    frame_deadline_s: float = Field(
        5.0, gt=0, le=600, description="Seconds without a picture after which it is opened anew."
    )
    reopen_s: float = Field(
        1.0,
        gt=0,
        le=600,
        description="Seconds before a lost URL or device is opened again; doubles each time.",
    )
    reopen_most_s: float = Field(
        30.0, gt=0, le=3600, description="Seconds to which that pause grows at the most."
    )
    masks: tuple[tuple[Point, ...], ...] = Field(
        (),
        description="Polygons painted grey before encoding: lists of [x, y], fractions of the "
        "picture's width and height, from its upper left corner.",
    )
    demo_clip: str | None = Field(
        None,
        validation_alias=AliasChoices("GLIMPSE_DEMO_CLIP", "demo_clip"),
        description="What the demo camera shows instead of its own clip (GLIMPSE_DEMO_CLIP).",
    )
    cache: Path = Field(default_factory=_cache_folder, description="Folder for the demo clip.")
    server: str = Field("127.0.0.1:50051", description="HOST:PORT of the server.")
    ca: Path | None = Field(
        None, description="PEM file of the authority to trust; none: those that the system trusts."
    )
    token: SecretStr | None = Field(None, description="Bearer token of this camera.")
    token_file: Path | None = Field(None, description="File that holds the token instead.")
    certificate: Path | None = Field(
        None, description="PEM file of this camera's own certificate, for a server that asks."
    )
    key: Path | None = Field(None, description="PEM file of that certificate's key.")
    insecure: bool = Field(False, description="Plaintext instead of TLS, to any address.")
    weights: Path = Field(DEFAULT_WEIGHTS, description="Weights folder with its manifest.json.")
    fps: float = Field(5.0, gt=0, le=120, description="Frames a second, 0 to 120.")
    quality: float = Field(0.4, ge=0, le=1, description="0 (fewest bytes) to 1 (most).")
    profile: ProfileSetting = Field(
        "detect",
        description="What layers are for: detect (boxes), recognise (only which classes are in "
        "view, in far fewer bytes) or adaptive: recognise while nothing is in view.",
    )
    recognise_quality: float = Field(
        1.0, ge=0, le=1, description="Quality of recognise layers, 0 to 1."
    )
    in_view_score: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Score, 0 to 1, from which a class in the server's answer to a recognise layer "
        "counts as in view (adaptive).",
    )
    quiet_after_s: float = Field(
        5.0,
        ge=0,
        le=3600,
        description="Seconds without a sign of anything, after which layers are for recognising "
        "(adaptive).",
    )
    key_every: int = Field(
        50,
        ge=1,
        le=50,
        description="Layers from one that stands alone to the next; those between code what "
        "changed. 1: all stand alone, as is best for a camera that moves.",
    )
    hold: float | None = Field(
        None,
        ge=0.5,
        le=1,
        description="How far a value may drift before an inter layer codes a change, in "
        "quantisation steps; 0.5 is plain rounding; none: 0.6 at quality 0 to 0.9 at quality 1.",
    )
    budget: str | None = Field(
        None,
        description="Bytes on the wire, both ways, headers included, such as 50 MB/day, 10 kbit/s "
        "or 1200 B/s; when short, quality falls, then frames are thinned; none: unlimited.",
    )
    latency_target_s: float | None = Field(
        None,
        gt=0,
        le=600,
        description="Seconds from capture to ack that rate control works for; none: those that "
        "the link takes.",
    )
    coalesce_s: float = Field(
        0.0,
        ge=0,
        le=MOST_COALESCE_S,
        description="Seconds, 0 to 10, for which layers are gathered into one message, which "
        "saves headers; 0: each frame at once.",
    )
    gather_s: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Seconds, 0 to 10, for which the server may gather its answers (acks, boxes) "
        "into one message, which saves headers; the server itself has boxes at once.",
    )
    quality_floor: float = Field(
        0.0, ge=0, le=1, description="0 to 1: quality below which frames are thinned instead."
    )
    side: Annotated[int, _SIDE] = Field(
        640, description="Longer side of the working picture in pixels: 32, 64, ... 4096."
    )
    threads: int = Field(2, ge=1, le=64, description="CPU threads of the encoder.")
    provider: Provider = Field(
        "cpu",
        description="Where the network runs: cpu, cuda, tensorrt or openvino. All but cpu need "
        "their own package in place of onnxruntime: onnxruntime-gpu or onnxruntime-openvino.",
    )
    precision: Precision = Field(
        "auto",
        description="fp32, int8 or auto: int8 if the weights have it and this processor multiplies "
        "bytes quickly (x86 with VNNI, Arm with dot products).",
    )
    boxes: bool = Field(True, description="Ask the server to send boxes back.")
    spool: Path | None = Field(
        None, description="Folder of the queue on disk; none: in memory, lost with the process."
    )
    max_spool_bytes: int = Field(
        256 << 20, ge=4096, le=1 << 40, description="Bound of the spool; then the oldest expire."
    )
    max_spool_age_s: float = Field(
        2_592_000.0,
        ge=1,
        le=315_360_000,
        description="Seconds for which a layer may wait in the spool; then it expires. The default "
        "is 30 days.",
    )
    telemetry_s: float = Field(
        60.0,
        ge=0,
        le=86_400,
        description="Seconds between two words to the server on how this camera is; 0: none.",
    )
    auxiliary: Mode = Field(
        "off",
        description="Whether the camera can give more of a frame when a person asks for a picture: "
        "off, with_frame (its auxiliary layer is made at once) or later (its picture is kept). "
        "Needs spool: what is kept lies there, and is sent only when asked for.",
    )
    auxiliary_quality: float = Field(
        0.5, ge=0, le=1, description="Quality of layers made with_frame, 0 to 1."
    )
    reference_s: float = Field(
        0.0,
        ge=0,
        le=31_536_000,
        description="For a camera that stands still: seconds from one reference picture to the "
        "next, such as 3600; what has not changed since is shown as it was seen in pictures of "
        "later frames. Sent behind all else, again when the scene is another one. 0: none.",
    )
    reference_window_s: float = Field(
        20.0,
        ge=0,
        le=3600,
        description="Seconds that a reference picture is made of: it shows what stood at each "
        "place for most of them, and nobody who passed. 0: a frame as it is.",
    )
    reference_quality: int = Field(
        60, ge=0, le=100, description="Quality of reference pictures (AVIF), 0 to 100."
    )
    ring_bytes: int = Field(
        256 << 20, ge=1 << 16, le=1 << 40, description="Bound of what is kept; the oldest go first."
    )
    ring_age_s: float = Field(
        86_400.0, gt=0, le=31_536_000, description="Seconds for which a frame is kept at the most."
    )
    seconds: float | None = Field(
        None, gt=0, description="Seconds to capture for; none: to the source's end."
    )
    loop: bool = Field(False, description="Begin again when the source ends.")
    drain_s: float = Field(
        15.0, ge=0, le=3600, description="Seconds at the end to get acks for what is spooled."
    )

    @field_validator("masks")
    @classmethod
    def _clear(cls, masks: tuple[tuple[Point, ...], ...]) -> tuple[tuple[Point, ...], ...]:
        if faults := mask_faults(masks):
            raise ValueError("; ".join(faults))
        return masks

    @field_validator("auxiliary", mode="before")
    @classmethod
    def _no_boolean(cls, auxiliary: Any) -> Any:
        return "off" if auxiliary is False else auxiliary  # as YAML reads a plain off

    @field_validator("budget")
    @classmethod
    def _budget(cls, budget: str | None) -> str | None:
        try:
            if budget is not None:
                parse_budget(budget)
        except BadSettings as error:
            raise ValueError(str(error)) from None
        return budget

    @field_validator("server")
    @classmethod
    def _address(cls, server: str) -> str:
        host, _, port = server.rpartition(":")
        if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise ValueError(f"{server!r} is not HOST:PORT")
        return server

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ca and self.insecure:
            raise ValueError("a certificate authority and plaintext (insecure) exclude each other")
        if self.certificate and self.insecure:
            raise ValueError("a certificate and plaintext (insecure) exclude each other")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        if self.token and self.token_file:
            raise ValueError("token and token_file exclude each other")
        held = self.coalesce_s + self.gather_s
        if self.latency_target_s is not None and held >= self.latency_target_s:
            raise ValueError("coalesce_s must be less than latency_target_s, gather_s included")
        if self.auxiliary != "off" and self.spool is None:
            raise ValueError("auxiliary needs spool: a folder for what is kept")
        if self.profile == "adaptive" and not self.boxes:
            raise ValueError("profile adaptive lives on the server's answers: boxes must be on")
        return self

    def limits(self) -> Limits:
        """What rate control is to keep to."""
        return Limits(
            budget=None if self.budget is None else parse_budget(self.budget),
            latency=self.latency_target_s,
            coalesce=self.coalesce_s,
            gather=self.gather_s,
            best=round(self.quality * 255),
            least=round(self.quality_floor * 255),
            fps=self.fps,
            boxes=self.boxes,
        )

    def read_token(self) -> str | None:
        """The bearer token, from wherever it is. Raises BadSettings for a bad file."""
        if self.token is not None:
            return self.token.get_secret_value()
        if self.token_file is None:
            return None
        token = read_file(self.token_file, "token file").decode(errors="replace").strip()
        if not token or not token.isascii() or not token.isprintable():
            raise BadSettings(f"token file {self.token_file} holds no token")
        return token

    def read_authority(self) -> bytes | None:
        """The authority's PEM bytes. Raises BadSettings for a file that holds no certificate."""
        if self.ca is None:
            return None
        return _read_pem(self.ca, "certificate", b"CERTIFICATE")

    def read_own(self) -> tuple[bytes, bytes] | None:
        """PEM bytes of this camera's certificate and of its key. Raises BadSettings."""
        if self.certificate is None or self.key is None:
            return None
        own = (
            _read_pem(self.certificate, "certificate", b"CERTIFICATE"),
            _read_pem(self.key, "key", b"PRIVATE KEY"),
        )
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_cert_chain(self.certificate, self.key, password="")
        except OSError as error:  # ssl.SSLError is one
            reason = getattr(error, "reason", None) or error.strerror
            names = f"{self.certificate} and {self.key}"
            raise BadSettings(f"{names} do not go together: {reason}") from error
        return own

    def link(self) -> Link:
        """The way to the server, as the files are now. Raises BadSettings."""
        token, authority = self.read_token(), self.read_authority()
        return Link(self.server, authority, token, self.insecure, self.read_own())

    def lines(self) -> list[str]:
        """`name = value` for each field, secrets masked: printed on start."""
        values = {name: getattr(self, name) for name in EdgeSettings.model_fields}
        if self.source is not None:
            values["source"] = shown(self.source)
        return [f"{name} = {value}" for name, value in values.items()]


def read_settings(**flags: Any) -> EdgeSettings:
    """From the environment, overruled by those flags that are not None.

    Raises BadSettings naming each field that is wrong.
    """
    settings, faults = settings_and_faults({}, flags)
    if settings is None:
        raise BadSettings("; ".join(faults))
    return settings


def settings_and_faults(
    file: Mapping[str, Any], flags: Mapping[str, Any]
) -> tuple[EdgeSettings | None, list[str]]:
    """The settings, or None and what is wrong with them, each fault beginning with its key.

    file   values of a configuration file; the environment overrules them
    flags  overrule both, unless None
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return _over(file)(**given), []
    except SettingsError as error:
        return None, [f"environment: {error}"]
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return None, [_fault(detail, given) for detail in details]


def environment_camera() -> str | None:
    """The camera that the environment names."""
    return os.environ.get(f"{_PREFIX}CAMERA")


def _over(file: Mapping[str, Any]) -> type[EdgeSettings]:
    """The settings with another source, behind all others."""

    class Configured(EdgeSettings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  its caller names it
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, dict(file))

    return Configured


def _fault(detail: ErrorDetails, flags: Mapping[str, Any]) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:
        return message
    key = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, EdgeSettings.model_fields, 1)
        return f"{key}: no such setting" + (f"; is {near[0]} meant?" if near else "")
    variable = _PREFIX + key.upper()
    origin = f" (from {variable})" if variable in os.environ and key not in flags else ""
    return f"{'.'.join(map(str, detail['loc']))}{origin}: {message}"


def _read_pem(path: Path, what: str, kind: bytes) -> bytes:
    pem = read_file(path, f"{what} file")
    if not re.search(rb"-----BEGIN [A-Z ]*" + kind + b"-----", pem):
        raise BadSettings(f"{what} file {path} holds no PEM {what}")
    return pem


def read_file(path: Path, what: str) -> bytes:
    """The file's bytes. Raises BadSettings saying `what` it was to be."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadSettings(f"{what} {path}: {error.strerror or error}") from error
