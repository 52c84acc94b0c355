from __future__ import annotations

import json

import pytest

from common.errors import ModelMismatch
from common.manifest import MAX_MANIFEST_BYTES, Manifest

FILES = {"encoder.onnx": b"network", "entropy.npz": b"tables"}
CODEC = {"channels": 64, "stride": 16, "max_side": 4096}


def make(**changes: object) -> Manifest:
    named: dict[str, object] = {"name": "street-1", "codec": CODEC, "labels": ("person", "car")}
    named |= {"profiles": ("detect",), "trained": {"steps": "1000"}} | changes
    return Manifest.build(FILES, **named)  # type: ignore[arg-type]


def test_round_trip() -> None:
    made = make()
    assert Manifest.parse(made.to_json()) == made
    assert made.labels == ("person", "car")
    assert made.trained == {"steps": "1000"}


def test_the_id_covers_files_and_codec_and_nothing_else() -> None:
    made = make()
    assert 0 <= made.model_id <= 0xFFFF
    assert make(name="other", labels=("x",), trained={}).model_id == made.model_id
    assert make(codec={**CODEC, "channels": 32}).model_id != made.model_id
    other = Manifest.build({**FILES, "entropy.npz": b"tablez"}, name="", codec=CODEC,
                           labels=(), profiles=())  # fmt: skip
    assert other.model_id != made.model_id


def test_a_profile_codes_the_latent_unless_the_codec_says_how_much_it_is_pooled() -> None:
    two = make(profiles=("detect", "recognise"), codec={**CODEC, "pool_recognise": 4})
    assert two.factors == (1, 4)
    assert make().factors == (1,)
    assert two.model_id != make().model_id


@pytest.mark.parametrize("factor", [0, -1, 65])
def test_a_pooling_that_cannot_be(factor: int) -> None:
    with pytest.raises(ModelMismatch, match="pool"):
        make(profiles=("detect", "recognise"), codec={"pool_recognise": factor})


def test_files_beside_are_hashed_and_leave_the_id_as_it_was() -> None:
    plain, made = make(), make(beside={"prior/unet/config.json": b"{}"})
    assert made.model_id == plain.model_id
    assert Manifest.parse(made.to_json()) == made
    assert b"beside" not in plain.to_json()
    made.verify("prior/unet/config.json", b"{}")
    with pytest.raises(ModelMismatch, match=r"prior/unet/config\.json"):
        made.verify("prior/unet/config.json", b"[]")


def test_verify_names_the_file() -> None:
    made = make()
    made.verify("encoder.onnx", b"network")
    for name, data in (("encoder.onnx", b"netw0rk"), ("encoder.onnx", b""), ("other", b"")):
        with pytest.raises(ModelMismatch, match=name):
            made.verify(name, data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 3),
        ("model_id", "0000"),
        ("files", []),
        ("files", {"a": 1}),
        ("files", {"../a": {"sha256": "0" * 64, "bytes": 1}}),
        ("files", {"a": {"sha256": "0" * 63, "bytes": 1}}),
        ("files", {"a": {"sha256": "0" * 64, "bytes": -1}}),
        ("files", {"a": {"sha256": "0" * 64, "bytes": True}}),
        ("files", {"a": {"sha256": "0" * 64}}),
        ("codec", {"channels": "64"}),
        ("labels", "car"),
        ("labels", [1]),
        ("profiles", None),
        ("trained", {"steps": 3}),
        ("beside", []),
        ("beside", {"prior/../a": {"sha256": "0" * 64, "bytes": 1}}),
        ("beside", {"/a": {"sha256": "0" * 64, "bytes": 1}}),
        ("beside", {"prior/a": {"sha256": "0" * 63, "bytes": 1}}),
        ("unknown", 1),
    ],
)
def test_fields_that_cannot_be(field: str, value: object) -> None:
    raw = json.loads(make().to_json())
    raw[field] = value
    with pytest.raises(ModelMismatch, match=field):
        Manifest.parse(json.dumps(raw).encode())


def test_missing_fields_are_named() -> None:
    for field in json.loads(make().to_json()):
        raw = json.loads(make().to_json())
        del raw[field]
        with pytest.raises(ModelMismatch, match=field):
            Manifest.parse(json.dumps(raw).encode())


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[]", b"[" * 100_000, b" " * (MAX_MANIFEST_BYTES + 1)]
)
def test_bytes_that_are_no_manifest(data: bytes) -> None:
    with pytest.raises(ModelMismatch):
        Manifest.parse(data)


def test_a_file_name_stays_in_its_folder() -> None:
    with pytest.raises(ModelMismatch, match="plain file name"):
        Manifest.build({"a/b": b""}, name="", codec={}, labels=(), profiles=())
