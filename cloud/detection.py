"""DetectionService: boxes of one layer at hand, or of everything that cameras send."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from cloud.access.identity import Identities
from cloud.batching import BatchingDetector
from cloud.bus import Bus
from cloud.metrics import Metrics
from cloud.sightings import Sighting
from cloud.status import errors_as_status
from cloud.wire import MICROSECONDS, box_messages, presence_messages
from common.bitstream import is_inter
from common.errors import BrokenChain
from glimpse.v1 import detection_pb2, detection_pb2_grpc


class DetectionService(detection_pb2_grpc.DetectionServiceServicer):
    """Both calls are for viewers."""

    def __init__(
        self,
        detector: BatchingDetector,
        bus: Bus[Sighting],
        identities: Identities,
        metrics: Metrics,
    ) -> None:
        self._detector, self._bus = detector, bus
        self._identities, self._metrics = identities, metrics

    async def Detect(  # noqa: N802 - the contract's name
        self,
        request: detection_pb2.DetectRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> detection_pb2.DetectResponse:
        async with errors_as_status(context, self._metrics):
            self._identities.viewer(context)
            if is_inter(request.layer):
                raise BrokenChain("an inter layer says nothing without the layers before it")
            detection = await self._detector.submit_alone(request.layer)
        header = detection.header
        return detection_pb2.DetectResponse(
            width=header.width,
            height=header.height,
            model_id=header.model,
            profile=header.profile,
            quality=header.quality,
            boxes=box_messages(detection.boxes, request.min_score),
            presences=presence_messages(detection.presences, request.min_score),
        )

    async def Watch(  # noqa: N802 - the contract's name
        self,
        request: detection_pb2.WatchRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[detection_pb2.WatchResponse]:
        async with errors_as_status(context, self._metrics):
            self._identities.viewer(context)
        cameras = frozenset(request.cameras)
        with (
            self._metrics.viewers.track_inprogress(),
            self._bus.subscribe(lambda s: not cameras or s.frame.camera in cameras) as sightings,
        ):
            await context.send_initial_metadata(())  # the caller may now rely on seeing what comes
            async for delivery in sightings:
                yield _watch_response(delivery.item, delivery.missed, request.min_score)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the server shuts down")


def _watch_response(
    sighting: Sighting, missed: int, min_score: float
) -> detection_pb2.WatchResponse:
    return detection_pb2.WatchResponse(
        camera=sighting.frame.camera,
        boot=sighting.frame.boot,
        seq=sighting.frame.seq,
        captured_at_us=round(sighting.captured_at * MICROSECONDS),
        layer_bytes=sighting.layer_bytes,
        width=sighting.width,
        height=sighting.height,
        boxes=box_messages(sighting.boxes, min_score),
        presences=presence_messages(sighting.presences, min_score),
        missed=missed,
    )
