"""`glimpse-cloud health`: asks the server of these settings, on this machine, whether it serves.

A container's health check, so it imports little and needs no network but loopback, no authority and
no token: it trusts the server's own certificate, by the name that stands in it.
"""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from cloud.access.shown import read_certificate
from cloud.folder import data_files
from cloud.settings import CloudSettings
from common.errors import BadSettings, Unauthenticated, Unreachable

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}


def check_health(settings: CloudSettings, timeout_s: float = 5.0) -> None:
    """Raises Unreachable if it does not answer, or says that it does not serve; BadSettings."""
    host, _, port = settings.listen.rpartition(":")
    address = f"{_WILDCARDS.get(host, host)}:{port}"
    with _channel(address, settings) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            raise Unreachable(f"{address}: {error.details() or error.code().name}") from error
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        name = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
        raise Unreachable(f"{address}: {name}")


def _channel(address: str, settings: CloudSettings) -> grpc.Channel:
    options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0)]
    if settings.insecure:
        return grpc.insecure_channel(address, options=options)
    file = data_files(settings.data)[2].certificate
    try:
        pem = file.read_bytes()
        name = read_certificate(pem).names[-1]
    except OSError as error:
        raise BadSettings(f"{file}: {error.strerror}") from error
    except (Unauthenticated, IndexError) as error:
        raise BadSettings(f"{file}: not the certificate of a server") from error
    options.append(("grpc.ssl_target_name_override", name.replace("*.", "health.")))
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(pem), options=options)
