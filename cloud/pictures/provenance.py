"""What a picture says of itself, inside its file: which layers, how it was made, what is generated.

As PNG text: Title, Description, Disclaimer and Software for people, `glimpse` with all of it as
JSON, and XMP with the IPTC's word for how such a picture came to be, which image programs show.
Text goes between header and pixels; what is compressed is not touched.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from cloud.pictures.values import CELL_PX, Picture, Still, Subject, Work

FAITHFUL = "The faithful view of its layers: no detail is generated."
SEEN = "What has not changed is shown as it was seen {}."
GENERATED = "Detail in this picture is generated. It is plausible, and it is not evidence."

_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = len(_SIGNATURE) + 12 + 13  # the signature and IHDR


def provenance(
    subject: Subject,
    work: Work,
    picture: Picture,
    notes: tuple[str, ...],
) -> dict[str, Any]:
    """All that is said, as an object for JSON. notes: all of them, the decoder's too."""
    header = subject.base.header
    still = None if picture.seen is None else work.still
    return {
        "made_by": "glimpse",
        "decoder": picture.decoder,
        **_frame(subject),
        "source_size": [header.width, header.height],
        "layers": {
            "machine": _layer(subject.base.data) | {"model": f"{header.model:04x}"},
            "auxiliary": None if work.auxiliary is None else _layer(work.auxiliary),
            "reference": None if still is None else _layer(still.data) | _frame(still),
        },
        "steps": work.steps,
        "fidelity": work.fidelity,
        "seed": work.seed,
        "generated": work.steps > 0,
        "meaning": _meaning(work.steps, still),
        "seen": None if picture.seen is None else _seen(picture.seen),
        "notes": list(notes),
    }


def with_provenance(png: bytes, said: Mapping[str, Any]) -> bytes:
    """The same picture with this in its text chunks."""
    frame = said["frame"]
    title = f"{frame}, {said['captured_at']}" if frame else "A machine layer"
    how = f"{said['steps']} diffusion steps, seed {said['seed']}" if said["steps"] else "0 steps"
    texts = {
        "Title": title,
        "Description": f"Restored by {said['decoder']} from {_sizes(said)}; {how}.",
        "Disclaimer": said["meaning"],
        "Software": "glimpse",
        "glimpse": json.dumps(said, separators=(",", ":"), allow_nan=False),
        "XML:com.adobe.xmp": _xmp(title, said),
    }
    chunks = b"".join(_itxt(keyword, text) for keyword, text in texts.items())
    return png[:_HEADER_END] + chunks + png[_HEADER_END:]


def _frame(of: Subject | Still) -> dict[str, Any]:
    return {
        "frame": None if of.frame is None else str(of.frame),
        "captured_at": None if of.captured_at is None else _moment(of.captured_at),
    }


def _meaning(steps: int, still: Still | None) -> str:
    meaning = GENERATED if steps else FAITHFUL
    if still is None:
        return meaning
    when = "in an earlier picture" if still.captured_at is None else _moment(still.captured_at)
    return f"{meaning} {SEEN.format(when)}"


def _layer(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _seen(seen: tuple[int, int, bytes]) -> dict[str, Any]:
    columns, rows, shares = seen
    return {
        "columns": columns,
        "rows": rows,
        "cell_px": CELL_PX,
        "share": round(sum(shares) / (255 * max(len(shares), 1)), 4),
        "shares": base64.b64encode(zlib.compress(shares)).decode(),  # zlib: a byte for each cell
    }


def _sizes(said: Mapping[str, Any]) -> str:
    layers = said["layers"]
    sizes = [f"{layer['bytes']} bytes of {name}" for name, layer in layers.items() if layer]
    return " and ".join(sizes)


def _moment(seconds: float) -> str:
    """ISO 8601 in UTC; a camera's clock that is far off shows as its bare seconds."""
    try:
        at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.3f}s"
    return at.isoformat(timespec="milliseconds")


def _xmp(title: str, said: Mapping[str, Any]) -> str:
    kind = "trainedAlgorithmicMedia" if said["generated"] else "algorithmicallyEnhanced"
    words = {
        "xmp:CreatorTool": f"glimpse, {said['decoder']}",
        "photoshop:DateCreated": said["captured_at"] or "",
        "Iptc4xmpExt:DigitalSourceType": _SOURCE_TYPE + kind,
        "glimpse:Frame": said["frame"] or "",
        "glimpse:MachineBytes": str(said["layers"]["machine"]["bytes"]),
        "glimpse:AuxiliaryBytes": str((said["layers"]["auxiliary"] or {"bytes": 0})["bytes"]),
        "glimpse:Steps": str(said["steps"]),
        "glimpse:Fidelity": str(said["fidelity"]),
        "glimpse:Seed": str(said["seed"]),
        "glimpse:Generated": str(said["generated"]),
    }
    attributes = "\n  ".join(f"{name}={quoteattr(word)}" for name, word in words.items() if word)
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
  xmlns:dc="http://purl.org/dc/elements/1.1/"
  xmlns:xmp="http://ns.adobe.com/xap/1.0/"
  xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
  xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
  xmlns:glimpse="https://glimpse.invalid/ns/1/"
  {attributes}>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{escape(title)}</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(said["meaning"])}</rdf:li></rdf:Alt>
</dc:description>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def _itxt(keyword: str, text: str) -> bytes:
    """An uncompressed iTXt chunk: PNG specification, 11.3.3.4."""
    body = b"iTXt" + keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode()
    return (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
