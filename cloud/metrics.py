"""Every figure that the cloud exports, in one place; counted where the fact happens.

One registry per process, or per test. Camera names are labels, so their number is bounded by the
number of cameras that have an identity here.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Summary

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """The cloud's metrics, registered in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.sessions = Gauge(
            "glimpse_sessions", "Camera sessions that are open.", registry=registry
        )
        self.layers = Counter(
            "glimpse_layers",
            "Layers received, by what became of them: stored, duplicate, refused.",
            ["camera", "outcome"],
            registry=registry,
        )
        self.layer_bytes = Counter(
            "glimpse_layer_bytes",
            "Bytes of layers that were taken in, by kind: intra, inter, auxiliary.",
            ["camera", "kind"],
            registry=registry,
        )
        self.last_layer = Gauge(
            "glimpse_last_layer_timestamp_seconds",
            "When the newest layer of a camera was stored, in unix seconds; after a restart, when "
            "it was captured, until another one comes.",
            ["camera"],
            registry=registry,
        )
        self.capture_to_boxes = Histogram(
            "glimpse_capture_to_boxes_seconds",
            "From the camera's capture time to boxes here; the two clocks may differ.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.camera_delay = Summary(
            "glimpse_camera_delay_seconds",
            "From a camera's capture time to boxes here, its clock's error included: the mean.",
            ["camera"],
            registry=registry,
        )
        self.detect_queue = Gauge(
            "glimpse_detect_queue_layers", "Layers that wait for the detector.", registry=registry
        )
        self.overload = Gauge(
            "glimpse_overload_frames_per_second",
            "What each camera is asked to keep to, as the detector is behind; 0: nothing.",
            registry=registry,
        )
        self.detect_batch_size = Histogram(
            "glimpse_detect_batch_size",
            "Layers that ran through the detector together.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=registry,
        )
        self.detect_seconds = Histogram(
            "glimpse_detect_seconds",
            "One batch: entropy decoding, detector, suppression.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.detect_failures = Counter(
            "glimpse_detect_failures",
            "Batches that the detector could not finish; their layers have no boxes yet.",
            registry=registry,
        )
        self.chain_loads = Counter(
            "glimpse_chain_loads",
            "Chains of layers read from the store again: after a restart, for layers that come "
            "again, or because chain_bytes is too little for so many cameras.",
            registry=registry,
        )
        self.unreadable_layers = Counter(
            "glimpse_unreadable_layers",
            "Stored layers that no detector can read: damaged, or what they lean on is missing.",
            ["camera"],
            registry=registry,
        )
        self.decode_queue = Gauge(
            "glimpse_decode_queue_depth", "Pictures that wait for the decoder.", registry=registry
        )
        self.decode_seconds = Histogram(
            "glimpse_decode_seconds",
            "Of one picture, by phase: wait, load (the decoder into memory), preview, diffuse, "
            "encode.",
            ["phase"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.decode_cache = Counter(
            "glimpse_decode_cache",
            "Pictures asked for, by whether they had been made before.",
            ["hit"],
            registry=registry,
        )
        self.decode_failures = Counter(
            "glimpse_decode_failures",
            "Pictures that the decoder could not make.",
            registry=registry,
        )
        self.auxiliary_fetches = Counter(
            "glimpse_auxiliary_fetch",
            "Auxiliary layers that cameras were asked for, by what came of it: fetched, offline, "
            "gone, timeout, unsupported, unusable, failed.",
            ["outcome"],
            registry=registry,
        )
        self.stills = Counter(
            "glimpse_stills",
            "Reference pictures that cameras sent of themselves, by what became of them: stored, "
            "refused.",
            ["camera", "outcome"],
            registry=registry,
        )
        self.still_bytes = Counter(
            "glimpse_still_bytes",
            "Bytes of reference pictures that were stored.",
            ["camera"],
            registry=registry,
        )
        self.references = Counter(
            "glimpse_decode_reference",
            "Pictures asked for, by whether a reference picture went into them.",
            ["used"],
            registry=registry,
        )
        for yes_or_no in ("true", "false"):  # a share is known from the first picture on
            self.decode_cache.labels(yes_or_no)
            self.references.labels(yes_or_no)
        self.edge_frames = Counter(
            "glimpse_edge_frames",
            "Frames of a camera by its own account: captured, and what became of them: skipped, "
            "thinned, acked, refused, expired.",
            ["camera", "outcome"],
            registry=registry,
        )
        self.edge_wire_bytes = Counter(
            "glimpse_edge_wire_bytes",
            "Bytes on the wire both ways, headers included, as the camera's kernel counts.",
            ["camera"],
            registry=registry,
        )
        self.edge_reconnects = Counter(
            "glimpse_edge_reconnects",
            "Connections of a camera process after its first.",
            ["camera"],
            registry=registry,
        )
        self.edge_spool_frames = Gauge(
            "glimpse_edge_spool_frames",
            "Layers that waited in the camera's spool when it last told.",
            ["camera"],
            registry=registry,
        )
        self.edge_spool_bytes = Gauge(
            "glimpse_edge_spool_bytes",
            "Bytes of these layers.",
            ["camera"],
            registry=registry,
        )
        self.edge_spool_max_bytes = Gauge(
            "glimpse_edge_spool_max_bytes",
            "How many bytes the spool may hold, then its oldest layers expire; 0: it did not say.",
            ["camera"],
            registry=registry,
        )
        self.edge_spool_oldest = Gauge(
            "glimpse_edge_spool_oldest_seconds",
            "Age of the oldest of these layers.",
            ["camera"],
            registry=registry,
        )
        self.edge_quality = Gauge(
            "glimpse_edge_quality",
            "Mean quality of the camera's layers, 0 to 1.",
            ["camera"],
            registry=registry,
        )
        self.edge_budget = Gauge(
            "glimpse_edge_uplink_budget_bytes",
            "What the camera may spend now, bytes per second; 0: no limit.",
            ["camera"],
            registry=registry,
        )
        self.auxiliary_strays = Counter(
            "glimpse_auxiliary_strays",
            "Pieces of auxiliary layers that came when nobody waited any more.",
            registry=registry,
        )
        self.store_failures = Counter(
            "glimpse_store_failures",
            "Commits that failed, for want of room or otherwise; nothing of them was acked.",
            registry=registry,
        )
        self.store_commit_seconds = Histogram(
            "glimpse_store_commit_seconds",
            "One commit of layers to the store.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
            registry=registry,
        )
        self.expired_layers = Counter(
            "glimpse_expired_layers",
            "Layers that left the store, by why: age, bytes.",
            ["camera", "reason"],
            registry=registry,
        )
        self.store_used_bytes = Gauge(
            "glimpse_store_used_bytes",
            "Bytes of the store's file that hold something.",
            registry=registry,
        )
        self.disk_bytes = Gauge(
            "glimpse_disk_bytes", "Size of the disk that has the data folder.", registry=registry
        )
        self.disk_free_bytes = Gauge(
            "glimpse_disk_free_bytes",
            "Of these, what is free for this process.",
            registry=registry,
        )
        self.build = Info("glimpse_build", "Version and model of this server.", registry=registry)
        self.viewers = Gauge(
            "glimpse_viewers", "Watch calls and pages that are open.", registry=registry
        )
        self.certificate_expiry = Gauge(
            "glimpse_certificate_expiry_seconds",
            "Until a certificate expires: server, cameras_authority, or that of a camera.",
            ["certificate"],
            registry=registry,
        )
        self.events = Counter(
            "glimpse_events",
            "What rules said: things that appeared, or are gone.",
            ["rule", "change"],
            registry=registry,
        )
        self.events_missed = Counter(
            "glimpse_events_missed",
            "Frames that no rule saw, and messages that did not get into the outbox.",
            registry=registry,
        )
        self.webhooks = Counter(
            "glimpse_webhooks",
            "Messages by what became of them: delivered, failed (and tried again), dropped (the "
            "receiver will not have it, or was away for too long), overflowed (a full queue).",
            ["webhook", "outcome"],
            registry=registry,
        )
        self.webhook_queue = Gauge(
            "glimpse_webhook_queue", "Messages that wait.", ["webhook"], registry=registry
        )
        self.mqtt_connected = Gauge(
            "glimpse_mqtt_connected", "1: the MQTT broker has us.", registry=registry
        )
        self.mqtt_dropped = Counter(
            "glimpse_mqtt_dropped",
            "Events that the broker did not get: it was away for too long.",
            registry=registry,
        )
        self.failed_logins = Counter(
            "glimpse_failed_logins",
            "Calls whose token or certificate was not known.",
            registry=registry,
        )
        self.refused_calls = Counter(
            "glimpse_refused_calls",
            "Calls refused before they were served, by gRPC status.",
            ["status"],
            registry=registry,
        )
