"""The session of one camera: what each side does about each event. No I/O, no clock.

    for action in session.on(event, now):    # now: seconds of a monotonic clock
        await perform(action)                # in this order; it is the contract

Theory of operation
===================

**Names and counts.** A frame is named for ever by (camera, boot, seq). What is true of a name stays
true: 'stored' is a fact, whichever stream says it. Beside that, one stream counts its layers in the
order of sending, from 0: `sent`, `settled`, `granted` (window.py). Acks and credits are such
counts: cumulative, tiny, harmless when repeated, and void when the stream ends. Layers go out in
any order of names, so that a spool may hold several boots, and live frames may one day overtake a
backlog, and an ack still cannot cover a layer that never arrived.

**Order.** On the edge Spool stands before Send. In the cloud Store is answered by Stored before the
layer counts as settled. So a layer is always in the spool, or in the store, or in both.

**Resume.** After a broken stream, or a kill -9 of either side, the edge does not know which of its
layers are stored. It reads the head of its spool, names those layers in Hello (`in_doubt`), and
Welcome answers which of them are stored. Those leave the spool; the rest is sent. A layer that
was stored and is sent again all the same is settled as stored: the store keeps one of each name.
An edge that restarts takes a new boot name; the layers of earlier boots come first in its spool
and keep their names.

**Credit.** The server grants counts; the edge never sends beyond. The server grants again as layers
settle, so the number of unsettled layers that it must hold per camera is bounded. A camera that
may send so many layers a second is granted no more than that (allowance.py): it waits with
its layers in the spool, and neither side is left waiting for an answer.

**Age.** No stream lasts for ever, or certificates, tokens and limits would be looked at once and
never again. The server parts from one that is older than `max_age`; the edge is back at once, and
resumes.

**Pace.** Credit says what the server bears, not what the link does. A paced session sends nothing
by itself: `ready` tells the rim what could go, Released how much of that may (edge/rate).

**Acks travel with boxes** if the edge wants boxes and they come within `ack_delay` of the commit:
on a thin link the second message costs more than what it says.

An edge on a thin link lets the server gather more of both (`gather`), as long as there is credit.

**Chains heal by themselves.** An inter layer leans on the one before it. One that is stored but can
not be read, because the layer before it is missing or damaged, is told of by name and reason, to
every edge, whether or not it wants boxes; the edge then codes its next layer alone.

**Settled** means stored or refused. The server refuses by name what no repetition can mend: a layer
that is malformed, too long, or of another model. The stream goes on. The edge refuses a layer over
the server's limit itself rather than send it. A refusal is delivered before the frame's Unspool.

**Edge**                                        **Cloud**

    NEW       --Started-->      OFFLINE             NEW      --Connected--> WAITING
    OFFLINE   --Connected-->    OPENING             WAITING  --Hello-->     LOOKING (store asked)
    OPENING   --Fetched-->      GREETING (Hello)    LOOKING  --LookedUp-->  LIVE (Welcome)
    GREETING  --Welcome-->      LIVE                LIVE     --Goodbye-->   PARTING
    LIVE      --all settled-->  PARTING (Goodbye)   LIVE     --Draining, old-->  PARTING
    PARTING   --Goodbye-->      ENDED               PARTING  --settled-->   CLOSED (Goodbye)
    any  --Disconnected, Goodbye, time out--> OFFLINE, but PARTING --> ENDED
                                                    any --Disconnected, error, Superseded--> CLOSED

The edge never gives up: it connects again after a random part of a back-off that doubles ('full
jitter': Brooker, Exponential Backoff And Jitter, 2015), and not before `retry_after` if the server
named one. The back-off starts afresh only after an ack, not after a Welcome: a server that falls
over at the first layer would be hammered.

**Memory.** The edge session holds layers only to send them: at most FETCH_LIMIT, from the encoder
while it keeps up, else read from the spool as credit allows. A week of backlog stays on disk.

**What surprised us**
- 'Everything up to seq n is acked' cannot be said once a thinned frame leaves a gap or an old boot
  is drained beside the live one: the server cannot tell a gap from a layer still to come.
- A repeated message would count twice if Layers did not say how many came before it.
- A Fetch may be under way while frames are coded. They may be in its answer or not; only another
  Fetch tells (`_missed`). And its answer may come after the stream that asked for it: hence the
  number in Fetch.
- A Hello can be so late that the edge has long connected anew. It then supersedes the live stream
  of its own edge, which comes back after `replaced_retry`; nothing is lost but that time.
- A store may answer after the stream ended. Such late events are normal and ignored, whereas an
  event that the rim can only send by mistake raises LocalProtocolError.
"""

from __future__ import annotations

from common.session.cloud import CloudPolicy, CloudSession, CloudState
from common.session.edge import EdgePolicy, EdgeSession, EdgeState

__all__ = ["CloudPolicy", "CloudSession", "CloudState", "EdgePolicy", "EdgeSession", "EdgeState"]
