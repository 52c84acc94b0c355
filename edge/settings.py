"""The camera process's settings: one frozen object, read once from environment and flags."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.errors import BadSettings
from edge.weights import DEFAULT_WEIGHTS

_SIDE = Field(640, ge=32, le=4096, multiple_of=32)


def _cache_folder() -> Path:
    """$XDG_CACHE_HOME/glimpse, by default ~/.cache/glimpse."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "glimpse"


class EdgeSettings(BaseSettings):
    """Each field is also an environment variable: GLIMPSE_EDGE_ and the name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="GLIMPSE_EDGE_", frozen=True, extra="forbid", populate_by_name=True
    )

    camera: str = Field(
        "camera",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        description="Name of this camera: 1 to 64 of a-z, 0-9, _ and -.",
    )
    source: str | None = Field(
        None,
        description="A video file, a picture or a folder of pictures; none: the demo camera.",
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
    insecure: bool = Field(False, description="Plaintext instead of TLS, to any address.")
    weights: Path = Field(DEFAULT_WEIGHTS, description="Weights folder with its manifest.json.")
    fps: float = Field(5.0, gt=0, le=120, description="Frames a second, 0 to 120.")
    quality: float = Field(0.4, ge=0, le=1, description="0 (fewest bytes) to 1 (most).")
    side: Annotated[int, _SIDE] = Field(
        640, description="Longer side of the working picture in pixels: 32, 64, ... 4096."
    )
    threads: int = Field(2, ge=1, le=64, description="CPU threads of the encoder.")
    boxes: bool = Field(True, description="Ask the server to send boxes back.")
    spool: Path | None = Field(
        None, description="Folder of the queue on disk; none: in memory, lost with the process."
    )
    max_spool_bytes: int = Field(
        256 << 20, ge=4096, le=1 << 40, description="Bound of the spool; then the oldest expire."
    )
    seconds: float | None = Field(
        None, gt=0, description="Seconds to capture for; none: to the source's end."
    )
    loop: bool = Field(False, description="Begin again when the source ends.")
    drain_s: float = Field(
        15.0, ge=0, le=3600, description="Seconds at the end to get acks for what is spooled."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        host, _, port = self.server.rpartition(":")
        if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise ValueError(f"server {self.server!r} is not HOST:PORT")
        if self.ca and self.insecure:
            raise ValueError("a certificate authority and plaintext (insecure) exclude each other")
        if self.token and self.token_file:
            raise ValueError("token and token_file exclude each other")
        return self

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
        pem = read_file(self.ca, "certificate file")
        if b"-----BEGIN CERTIFICATE-----" not in pem:
            raise BadSettings(f"certificate file {self.ca} holds no PEM certificate")
        return pem

    def lines(self) -> list[str]:
        """`name = value` for each field, secrets masked: printed on start."""
        return [f"{name} = {getattr(self, name)}" for name in type(self).model_fields]


def read_settings(**flags: Any) -> EdgeSettings:
    """From the environment, overruled by those flags that are not None.

    Raises BadSettings naming each field that is wrong.
    """
    try:
        return EdgeSettings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        faults = (
            ": ".join(filter(None, (".".join(map(str, e["loc"])), e["msg"])))
            for e in error.errors(include_url=False, include_input=False)
        )
        raise BadSettings("; ".join(faults)) from None


def read_file(path: Path, what: str) -> bytes:
    """The file's bytes. Raises BadSettings saying `what` it was to be."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadSettings(f"{what} {path}: {error.strerror or error}") from error
