"""The cloud process's settings: one frozen object, read once from the environment and the flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cloud.folder import DEFAULT_WEIGHTS
from common.errors import BadSettings

_MESSAGE_ROOM = 16 << 10  # beside the layers of a message: their names and times


class CloudSettings(BaseSettings):
    """Each field is also an environment variable: GLIMPSE_CLOUD_ and the name in capitals."""

    model_config = SettingsConfigDict(env_prefix="GLIMPSE_CLOUD_", frozen=True, extra="forbid")

    listen: str = Field(
        "127.0.0.1:50051", description="HOST:PORT for gRPC; port 0 takes a free one."
    )
    metrics_listen: str = Field(
        "127.0.0.1:9464", description="HOST:PORT for /metrics over HTTP; empty: none."
    )
    web_listen: str = Field(
        "127.0.0.1:8080", description="HOST:PORT of the viewer page, over TLS; empty: none."
    )
    data: Path = Field(Path("data"), description="Folder for the store, certificates and tokens.")
    weights: Path = Field(DEFAULT_WEIGHTS, description="Weights folder with its manifest.json.")
    insecure: bool = Field(False, description="Plaintext on any address; without it on none.")
    mtls_listen: str = Field(
        "",
        description="HOST:PORT for gRPC with cameras that show a certificate of their own and need "
        "no token; empty: none.",
    )
    cameras_ca: Path | None = Field(
        None,
        description="PEM file of whoever signs cameras' certificates; none: that of `glimpse-cloud "
        "certificates --camera`, DATA/tls/cameras-ca.pem.",
    )
    certificate_warning_days: float = Field(
        21.0, ge=0, le=365, description="Days before a certificate expires from which on it warns."
    )
    threads: int = Field(2, ge=1, le=256, description="CPU threads of the detector.")
    min_score: float = Field(0.3, ge=0, le=1, description="Boxes with a lower score are left out.")
    batch: int = Field(16, ge=1, le=256, description="Layers in one detector batch at the most.")
    batch_window_ms: float = Field(
        3.0, ge=0, le=100, description="How long a layer waits for others to share its batch."
    )
    credits: int = Field(
        64, ge=1, le=4096, description="Layers that one camera may have sent and not yet acked."
    )
    max_side: int = Field(
        1920, ge=32, le=4096, description="Longest side of a working picture, in pixels."
    )
    chain_bytes: int = Field(
        256 << 20,
        ge=1 << 26,
        le=1 << 40,
        description="Memory for the integers of cameras' last layers, which inter layers lean on: "
        "some 300 kB a camera at a side of 640.",
    )
    max_layer_bytes: int = Field(
        65536, ge=256, le=1 << 20, description="A longer layer is refused."
    )
    max_store_bytes: int | None = Field(
        None, ge=1 << 20, description="Bound of the store's file; none: as far as the disk goes."
    )
    keep_days: float | None = Field(
        None, gt=0, le=36_500, description="Frames stored longer ago expire; none: none does."
    )
    keep_bytes: int | None = Field(
        None,
        ge=1 << 20,
        description="Above so many bytes in the store its oldest frames expire; none: never.",
    )
    max_cameras: int = Field(
        1000, ge=1, le=100_000, description="Cameras that are connected at once."
    )
    max_fps: float = Field(
        120.0,
        ge=0,
        le=10_000,
        description="Layers a second of one camera, over time; more wait in its spool; 0: any.",
    )
    overload_s: float = Field(
        2.0,
        ge=0,
        le=600,
        description="Seconds that layers may wait for the detector; where they wait longer and "
        "longer, cameras are asked for fewer frames; 0: never.",
    )
    max_message_bytes: int = Field(
        4 << 20, ge=1 << 17, le=64 << 20, description="Longest message that is taken in a call."
    )
    max_stream_age_s: float = Field(
        4 * 3600.0,
        ge=0,
        le=31 * 86_400,
        description="A camera's stream is opened anew when it is so old, or a fifth younger, by "
        "chance; 0: never.",
    )
    failed_logins: int = Field(
        10,
        ge=1,
        le=1_000_000,
        description="Failed logins from one address after which it is sent away: for 1 s, 2 s, "
        "4 s, ... Callers that came in from there before are not.",
    )
    login_pause_s: float = Field(
        300.0, ge=1, le=86_400, description="For how long an address is sent away at the most."
    )
    human: Path | None = Field(
        None,
        description="Weights folder of the human decoder, which makes pictures; none: "
        "WEIGHTS/human, if it is there.",
    )
    decode_device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Where pictures are made: auto (CUDA if there is one), cpu, cuda, cuda:1, ...",
    )
    decode_threads: int = Field(
        2, ge=1, le=256, description="CPU threads of the human decoder, less urgent than all else."
    )
    decode_queue: int = Field(
        32,
        ge=1,
        le=10_000,
        description="Pictures that may wait, and auxiliary layers on their way; more are refused.",
    )
    decode_queue_each: int = Field(
        4, ge=1, le=10_000, description="Pictures that one viewer may wait for."
    )
    decode_timeout_s: float = Field(
        300.0, ge=1, le=86_400, description="A picture that takes longer is given up."
    )
    decode_idle_s: float = Field(
        300.0, ge=1, le=86_400, description="The human decoder leaves memory when idle for so long."
    )
    picture_cache_bytes: int = Field(
        256 << 20,
        ge=0,
        le=1 << 40,
        description="Disk for pictures that were made; 0: none is kept.",
    )
    picture_cache_hours: float = Field(
        24.0,
        gt=0,
        le=24 * 366,
        description="How long they are kept, and no longer than their frames by keep_days.",
    )
    auxiliary_quality: int = Field(
        128, ge=0, le=255, description="Of auxiliary layers that cameras are asked for."
    )
    stills: int = Field(
        168,
        ge=0,
        le=100_000,
        description="Reference pictures (stills) that are kept of each camera, the newest, and no "
        "longer than their frames; 0: none is taken.",
    )
    max_still_bytes: int = Field(
        256 << 10, ge=1 << 10, le=1 << 20, description="A longer still is refused."
    )
    reference_hours: float = Field(
        24.0,
        gt=0,
        le=24 * 366,
        description="A still that is older than a frame by more is not used for its picture.",
    )
    auxiliary_patience_s: float = Field(
        3.0,
        ge=0,
        le=300,
        description="A picture is made without its auxiliary layer after so long; a better one "
        "follows if that layer comes.",
    )
    auxiliary_deadline_s: float = Field(
        30.0, ge=1, le=600, description="For a camera to send an auxiliary layer."
    )
    audit: Path | None = Field(
        None,
        description="File that gets a line for each layer that a viewer reads, and for each "
        "picture; none: DATA/audit.jsonl.",
    )
    events: Path | None = Field(
        None, description="YAML file with rules, webhooks and MQTT; none: no events go out."
    )
    drain_s: float = Field(10.0, ge=0, le=300, description="Patience with open calls at shutdown.")

    @model_validator(mode="after")
    def _a_message_holds_a_layer(self) -> CloudSettings:
        if self.max_message_bytes < self.max_layer_bytes + _MESSAGE_ROOM:
            raise ValueError(f"max_message_bytes: at least max_layer_bytes and {_MESSAGE_ROOM}")
        return self

    @model_validator(mode="after")
    def _no_certificates_in_plaintext(self) -> CloudSettings:
        if self.insecure and self.mtls_listen:
            raise ValueError("mtls_listen: excludes insecure")
        return self

    @model_validator(mode="after")
    def _expires_before_it_is_full(self) -> CloudSettings:
        most = self.max_store_bytes
        if self.keep_bytes is not None and most is not None and self.keep_bytes >= most:
            raise ValueError("keep_bytes: must be less than max_store_bytes")
        return self


def read_settings(**flags: Any) -> CloudSettings:
    """From the environment, overruled by those flags that are not None.

    Raises BadSettings naming each field that is wrong.
    """
    try:
        return CloudSettings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        faults = (
            ": ".join(filter(None, (".".join(map(str, e["loc"])), e["msg"])))
            for e in error.errors(include_url=False, include_input=False)
        )
        raise BadSettings("; ".join(faults)) from None
