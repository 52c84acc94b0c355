"""Random access: the layer of any stored frame as one that stands alone.

An inter layer is decoded after the ones that it leans on, and coded again as an intra layer of the
same integers: whoever gets it sees the same boxes, and needs no other layer.
"""

from __future__ import annotations

from cloud.store import FrameStore, StoredFrame
from common.codec import Coded, MachineCodec
from common.errors import CorruptStream, ModelMismatch, NotStored


class Alone:
    """Layers of one store. A call may take as long as decoding a whole chain: not for a loop."""

    def __init__(self, store: FrameStore, codec: MachineCodec) -> None:
        self._store, self.codec = store, codec

    def __call__(self, stored: StoredFrame) -> bytes:
        """The frame's layer, as it is stored if it is intra.

        Raises NotStored if a layer that it leans on is not in the store any more, or never was, or
        if one of them cannot be read.
        """
        if not stored.is_inter:
            return stored.data
        return self.codec.alone(self.coded(stored))

    def coded(self, stored: StoredFrame) -> Coded:
        """What is in the frame's layer. Raises NotStored, for an intra layer too."""
        last: Coded | None = None
        try:
            for data in self._store.chain(stored.frame):
                last = self.codec.decode(data, last)
            return self.codec.decode(stored.data, last)
        except (CorruptStream, ModelMismatch) as error:
            raise NotStored(
                f"{stored.frame} is stored, its layer is out of reach: {error}"
            ) from error
