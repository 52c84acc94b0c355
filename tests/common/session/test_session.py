"""Two real sessions joined in memory: whatever happens between them, nothing acked is lost."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import AuxiliaryError, LocalProtocolError, ModelMismatch, RemoteProtocolError
from common.packed import unpack
from common.packed_frames import unpack_frames
from common.session import CloudPolicy, CloudSession, CloudState, EdgeSession, EdgeState
from common.session import events as ev
from common.session.edge import FETCH_LIMIT
from common.types import FrameId
from tests.common.pair import BOX, CAMERA, HELD, MODEL, Pair, auxiliary, inspect

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))

# ---------------------------------------------------------------- any order of events

CHAOS = {
    "code": lambda p, n: p.code(b"broken" if n % 8 == 7 else b"layer"),
    "code malformed": lambda p, n: p.code(b"bad"),
    "code too long": lambda p, n: p.code(bytes(101)),
    "connect": lambda p, n: p.connect(),
    "up": lambda p, n: p.deliver_up(p.links[n % len(p.links)]) if p.links else None,
    "up newest": lambda p, n: p.deliver_up(p.links[-1]) if p.links else None,
    "down": lambda p, n: p.deliver_down(),
    "repeat up": lambda p, n: _repeat(p.link.up) if p.link else None,
    "repeat down": lambda p, n: _repeat(p.link.down) if p.link else None,
    "swap up": lambda p, n: p.link.up.rotate(1) if p.link else None,
    "swap down": lambda p, n: p.swap_down(),
    "store": lambda p, n: p.answer_job(n),
    "store fails": lambda p, n: p.fail_job(),
    "detect": lambda p, n: p.detect(n),
    "read": lambda p, n: p.read_spool(),
    "fetch": lambda p, n: p.answer_fetch(n),
    "want": lambda p, n: p.want(p.links[n % len(p.links)], n) if p.links else None,
    "find": lambda p, n: p.find(n),
    "cut": lambda p, n: p.cut(),
    "kill edge": lambda p, n: p.kill_edge(),
    "kill server": lambda p, n: p.kill_server(),
    "drain": lambda p, n: p.drain(),
    "wait": lambda p, n: p.wait(float(n)),
    "progress": lambda p, n: p.progress(n % 8),
}
# Progress is drawn more often than mischief, or no session would ever come to life.
ORDER = ["code", "up newest", "down", "store", "read", "progress"] * 4 + list(CHAOS)
STEP = st.tuples(st.sampled_from(ORDER), st.integers(0, 40))
STEPS = st.lists(STEP, max_size=20) | st.lists(STEP, min_size=50, max_size=150)


def _repeat(queue):
    if queue:
        queue.append(queue[-1])


@settings(max_examples=400, deadline=None)
@given(
    steps=STEPS,
    seed=st.integers(0, 99),
    want_boxes=st.booleans(),
    max_age=st.none() | st.floats(5.0, 100.0),
    per_second=st.none() | st.floats(0.2, 5.0),
    gather=st.sampled_from([0.0, 0.0, 3.0]),
    labels=st.sampled_from([(), ("car",), ("person", "car"), ("person",)]),
)
def test_any_order_of_events_keeps_every_promise(
    steps, seed, want_boxes, max_age, per_second, labels, gather
):
    # Credit, spool before send, store before ack and ack before unspool are checked in pair.py.
    pair = Pair(policy=HELD, random=Random(seed).random, want_boxes=want_boxes, gather=gather)
    pair.limit(max_age=max_age, per_second=per_second)
    pair.labels = labels
    for name, number in steps:
        CHAOS[name](pair, number)
    pair.settle()
    for frame, data in pair.coded.items():
        stored = pair.store.get(frame)
        assert (stored is None) == pair.is_refusable(frame)
        assert stored is None or stored.data == data
    pair.end_source()
    for _ in range(200):
        pair._step()
        pair.wait(1.0)
    assert pair.finished
    assert pair.concluded.keys() | pair.unanswerable == set(range(1, pair.tickets + 1))
    for ticket, result in pair.concluded.items():
        assert isinstance(result, AuxiliaryError) or result == auxiliary(pair.wanted[ticket])
    assert all(link.cloud.state is CloudState.CLOSED for link in pair.links)


def test_chaos_reaches_the_interesting_places():
    """The property above would say nothing if its steps never got past the greeting."""
    random = Random(1)
    seen: set[str] = set()
    concluded: set[str] = set()
    for _ in range(300):
        pair = Pair(policy=HELD, random=random.random)
        pair.limit(max_age=50.0, per_second=1.0)
        for _ in range(150):
            CHAOS[random.choice(ORDER)](pair, random.randrange(40))
        seen |= {" ".join(line.split()[1:3]) for line in pair.log}
        concluded |= {type(result).__name__ for result in pair.concluded.values()}
        seen |= {code.name for code in ev.GoodbyeCode if any(code.name in x for x in pair.log)}
    assert seen >= {"Send Welcome", "Send Results", "REPLACED", "PROTOCOL_ERROR", "TIMEOUT"}
    assert seen >= {"STORE_UNAVAILABLE", "SHUTTING_DOWN", "RENEW"}
    assert concluded >= {"bytes", "CameraOffline", "AuxiliaryGone", "AuxiliaryTimeout"}


# ---------------------------------------------------------------- transcripts


def _play(script: str) -> str:
    """Run the commands ('> ...') of a transcript; return it with what happened under each."""
    pair = Pair()
    lines: list[str] = []
    for line in script.splitlines():
        if line.startswith(">"):
            before = len(pair.log)
            _command(pair, *line[1:].split())
            lines += [line, *("    " + said for said in pair.log[before:])]
        elif not line.startswith("    "):
            lines.append(line)
    return "\n".join(lines) + "\n"


def _command(pair: Pair, name: str, *words: str) -> None:
    match name, words:
        case "code", ():
            pair.code()
        case "code", ("malformed",):
            pair.code(b"bad")
        case "code", ("broken",):
            pair.code(b"broken")
        case "code", (size,):
            pair.code(bytes(int(size)))
        case "up", ("repeated",):
            pair.wire.up.append(pair.wire.up[-1])
        case "up", ("lost",):
            pair.wire.up.popleft()
        case "up", _:
            pair.deliver_up(pair.links[int(words[0]) - 1] if words else pair.links[-1])
        case "model", (number,):
            pair._model = int(number, 16)
        case "target", (rate,):
            pair.tell_cloud(pair.links[-1], ev.TargetChosen(ev.RateTarget(int(rate))))
        case "rival", ():
            pair.open().up.append(ev.Hello(CAMERA, "rival", MODEL))
        case "age", (seconds,):
            pair.limit(max_age=float(seconds))
        case "rate", (per_second,):
            pair.limit(per_second=float(per_second))
        case "want", (seq, *patience):
            pair.want(pair.links[-1], int(seq), *map(float, patience))
        case "wait", (seconds,):
            pair.wait(float(seconds))
        case _:
            COMMANDS[name](pair)


COMMANDS = {
    "connect": Pair.connect,
    "down": Pair.deliver_down,
    "store": Pair.answer_job,
    "fail": Pair.fail_job,
    "detect": Pair.detect,
    "fetch": Pair.answer_fetch,
    "find": Pair.find,
    "cut": Pair.cut,
    "kill-edge": Pair.kill_edge,
    "kill-server": Pair.kill_server,
    "drain": Pair.drain,
    "end": Pair.end_source,
    "settle": Pair.settle,
}


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path):
    """GLIMPSE_REWRITE_TRANSCRIPTS=1 writes what happens now; review it as a diff."""
    script = path.read_text()
    played = _play(script)
    if os.environ.get("GLIMPSE_REWRITE_TRANSCRIPTS"):
        path.write_text(played)
    assert played == path.read_text()


def test_there_are_transcripts():
    assert len(TRANSCRIPTS) >= 8


# ---------------------------------------------------------------- single rules


def _live(**options) -> Pair:
    pair = Pair(**options)
    pair.connect()
    while pair.edge.state is not EdgeState.LIVE:
        pair._step()
    return pair


@pytest.mark.parametrize("want_boxes", [True, False])
def test_a_layer_that_cannot_be_read_is_told_of_whether_or_not_boxes_are_wanted(want_boxes):
    pair = _live(want_boxes=want_boxes)
    for data in (b"layer", b"broken", b"layer", b"broken"):
        pair.code(data)
    pair.settle()
    pair.progress(9)
    assert {frame.seq for frame in pair.broken} == {1, 3}
    assert {frame.seq for frame in pair.boxed} == ({0, 2} if want_boxes else set())


def test_an_old_read_of_the_spool_does_not_answer_a_new_one():
    pair = _live()
    for _ in range(6):  # two more than the window
        pair.code()
    pair.cut()
    pair.connect()
    pair.read_spool()
    pair.cut()
    pair.code()
    pair.connect()
    pair.answer_fetch(0)  # the old one
    assert not pair.wire.up
    pair.answer_fetch(0)
    assert isinstance(pair.wire.up[0], ev.Hello)
    pair.settle()


def test_a_long_backlog_never_enters_memory_whole():
    pair = Pair(policy=CloudPolicy(window=1000))
    for _ in range(5 * FETCH_LIMIT):
        pair.code()
    pair.connect()
    while not pair.is_settled():
        pair._step()
        assert len(pair.edge._ready) <= FETCH_LIMIT
    assert len(pair.store.held(pair.coded)) == 5 * FETCH_LIMIT


def test_a_backlog_coalesces_and_one_message_stays_small():
    pair = Pair(policy=CloudPolicy(window=64, max_layer_bytes=4000))
    for _ in range(40):
        pair.code(bytes(4000))
    pair.connect()
    pair.answer_fetch()
    pair.deliver_up(pair.wire)
    pair.answer_job()
    pair.deliver_down()
    messages = [message for message in pair.wire.up if isinstance(message, ev.Layers)]
    assert [sum(len(e.data) for e in m.layers) for m in messages] == [64_000, 64_000, 32_000]


def test_backoff_is_random_below_a_doubling_bound_and_starts_afresh_after_an_ack():
    pair = Pair(random=lambda: 1.0)
    waits = []
    for _ in range(9):
        pair.connect()
        pair.cut()
        waits.append(pair.backoff)
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    pair.code()
    pair.settle()
    pair.cut()
    assert pair.backoff == 0.5


def test_a_server_that_renews_streams_of_no_use_is_not_hammered():
    pair = Pair(random=lambda: 1.0)
    waits = []
    for _ in range(4):
        pair.connect()
        pair.wire.down.append(ev.Goodbye(ev.GoodbyeCode.RENEW))
        pair.deliver_down()
        waits.append(pair.backoff)
    assert waits == [0.0, 1, 2, 4]


@pytest.mark.parametrize("cuts", [0, 7])
def test_a_camera_gets_its_rate_and_no_more_even_if_it_connects_anew(cuts):
    pair = Pair(policy=CloudPolicy(window=16), random=lambda: 0.0)
    pair.limit(per_second=4.0)
    for _ in range(60):
        pair.code()
    for _ in range(cuts):
        pair.connect()
        for _ in range(4):
            pair._step()
        pair.cut()
    pair.settle()
    assert 58 / 4.0 <= pair.now <= 58 / 4.0 + 1.0  # two were saved up; nothing is wasted
    assert len(pair.store.held(pair.coded)) == 60


def _packed(data: bytes) -> ev.FrameResult:
    return ev.FrameResult("", 0, ev.Outcome.STORED, packed=data)


def test_a_connection_that_fails_is_tried_again():
    edge = EdgeSession(CAMERA, "b1", MODEL, random=lambda: 0.5)
    assert edge.on(ev.Started(), 0.0) == (ev.Connect(0.0),)
    assert edge.on(ev.Disconnected("refused"), 3.0) == (ev.Connect(3.25),)


@pytest.mark.parametrize(
    "message",
    [
        ev.Welcome("s", (), 4, 100),
        ev.Results(1, 8),  # an ack of what was never sent
        ev.Results(0, 8, (ev.FrameResult("no/boot", 1, ev.Outcome.STORED),)),
        ev.Hello(CAMERA, "b1", MODEL),
        ev.Results(0, 8, (_packed(b""),)),
        ev.Results(0, 8, (_packed(b"\x02\x00\x00"),)),  # cut off
        ev.Results(0, 8, (_packed(b"\x02\x00\xff\x80"),)),  # no such label
    ],
    ids=lambda message: type(message).__name__,
)
def test_the_edge_leaves_a_server_that_breaks_the_rules(message):
    pair = _live()
    pair.labels = ("person", "car", "bus")
    pair.cut()
    pair.progress(5)
    pair.wire.down.append(message)
    pair.deliver_down()
    assert pair.edge.state is EdgeState.OFFLINE
    assert "Goodbye PROTOCOL_ERROR '" in "\n".join(pair.log)
    pair.code()
    pair.settle()  # and comes back


@pytest.mark.parametrize(
    "welcome",
    [
        ev.Welcome("s", (ev.FrameRange("", 5, 4),), 4, 100),
        ev.Welcome("s", (ev.FrameRange("", 0, 2**62),), 4, 100),
        ev.Welcome("s", (), 4, 0),
        ev.Welcome("s", (), 4, 100, ("",)),
        ev.Welcome("s", (), 4, 100, ("x" * 65,)),
        ev.Welcome("s", (), 4, 100, ("x",) * 1025),
    ],
)
def test_the_edge_believes_no_absurd_welcome(welcome):
    pair = Pair()
    pair.code()
    pair.connect()
    pair.answer_fetch()
    pair.wire.down.append(welcome)
    pair.deliver_down()
    assert pair.edge.state is EdgeState.OFFLINE
    assert pair.spool.status().frames == 1


def test_a_welcome_that_names_strangers_unspools_nothing():
    pair = Pair()
    pair.code()
    pair.connect()
    pair.answer_fetch()
    pair.wire.down.append(ev.Welcome("s", (ev.FrameRange("", 7, 9),), 4, 100))
    pair.wire.allowed = 4
    pair.deliver_down()
    assert pair.edge.in_flight == 1
    assert pair.spool.status().frames == 1


def _cloud(**options: Any) -> Any:
    cloud = CloudSession("s1", MODEL, inspect=options.pop("inspect", inspect), **options)
    cloud.on(ev.Connected(), 0.0)
    return cloud


def _say(cloud: CloudSession, message: ev.ToServer) -> list[Any]:
    return list(cloud.on(ev.Received(message), 0.0))


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        (ev.Hello("Gate!", "b1", MODEL), ev.GoodbyeCode.PROTOCOL_ERROR),
        (ev.Hello(CAMERA, "", MODEL), ev.GoodbyeCode.PROTOCOL_ERROR),
        (ev.Hello(CAMERA, "b1", 1), ev.GoodbyeCode.MODEL_MISMATCH),
        (ev.Hello("door", "b1", MODEL), ev.GoodbyeCode.PERMISSION_DENIED),
        (
            ev.Hello(CAMERA, "b1", MODEL, (ev.FrameRange("", 0, 2**63 - 1),)),
            ev.GoodbyeCode.PROTOCOL_ERROR,
        ),
        (ev.Layers(0, ()), ev.GoodbyeCode.PROTOCOL_ERROR),
    ],
)
def test_a_hello_that_is_refused(hello, code):
    cloud = _cloud(identity=CAMERA)
    actions = _say(cloud, hello)
    [farewell] = [a.message for a in actions if isinstance(a, ev.Send)]
    assert farewell.code is code
    assert farewell.reason
    assert cloud.state is CloudState.CLOSED
    assert cloud.camera == ""
    assert not any(isinstance(a, ev.Admit) for a in actions)


def _entry(seq: int, data: bytes = b"x", captured_at: float = 1.0) -> ev.LayerEntry:
    return ev.LayerEntry("", seq, captured_at, data)


@pytest.mark.parametrize(
    "layers",
    [
        ev.Layers(1, (_entry(0),)),  # a gap
        ev.Layers(0, tuple(map(_entry, range(65)))),  # beyond credit
        ev.Layers(0, (_entry(2**63),)),
        ev.Layers(0, (_entry(0, captured_at=-1.0),)),
        ev.Layers(0, (ev.LayerEntry("no/boot", 0, 1.0, b"x"),)),
        ev.Hello(CAMERA, "b1", MODEL),
    ],
)
def test_layers_that_break_the_rules_end_the_session(layers):
    cloud = _cloud()
    _say(cloud, ev.Hello(CAMERA, "b1", MODEL))
    actions = _say(cloud, layers)
    assert isinstance(actions[-1], ev.Close)
    assert actions[-1].code is ev.GoodbyeCode.PROTOCOL_ERROR


def test_one_refused_layer_does_not_ack_its_neighbours():
    cloud = _cloud()
    _say(cloud, ev.Hello(CAMERA, "b1", MODEL))
    store, send = _say(cloud, ev.Layers(0, (_entry(0), _entry(1, b"bad"), _entry(2))))
    assert [layer.frame.seq for layer in store.layers] == [0, 2]
    assert send.message.acked == 0
    assert send.message.frames[0].seq == 1
    [send] = cloud.on(ev.Stored((FrameId(CAMERA, "b1", 2),)), 0.0) or [None]
    assert send is None or send.message.acked == 0
    [send] = cloud.on(ev.Stored((FrameId(CAMERA, "b1", 0),)), 0.0)
    assert send.message.acked == 3
    assert send.message.credits == 3 + 64


def test_a_layer_of_another_model_is_refused_by_name():
    def other_model(data: bytes) -> None:
        raise ModelMismatch("coded with model 0001")

    cloud = _cloud(inspect=other_model)
    _say(cloud, ev.Hello(CAMERA, "b1", MODEL))
    [send] = _say(cloud, ev.Layers(0, (_entry(0),)))
    assert send.message.frames[0].reason == "coded with model 0001"
    assert send.message.acked == 1
    assert cloud.state is CloudState.LIVE


def test_ack_and_boxes_travel_together_if_the_boxes_come_soon():
    frame = FrameId(CAMERA, "b1", 0)
    cloud = _cloud()
    _say(cloud, ev.Hello(CAMERA, "b1", MODEL, want_boxes=True))
    _say(cloud, ev.Layers(0, (_entry(0),)))
    delay = CloudPolicy().ack_delay
    assert cloud.on(ev.Stored((frame,)), 1.0) == (ev.ArmTimer(1.0 + delay),)
    assert cloud.on(ev.Tick(), 1.0 + delay / 2) == (ev.ArmTimer(1.0 + delay),)
    send, timer = cloud.on(ev.Detected(frame, (BOX,)), 1.0 + delay / 2)
    assert send.message == ev.Results(
        1, 65, (ev.FrameResult("", 0, ev.Outcome.STORED, boxes=(BOX,)),)
    )
    assert timer == ev.ArmTimer(None)


def test_an_ack_does_not_wait_long_for_boxes():
    frame = FrameId(CAMERA, "b1", 0)
    cloud = _cloud()
    _say(cloud, ev.Hello(CAMERA, "b1", MODEL, want_boxes=True))
    _say(cloud, ev.Layers(0, (_entry(0),)))
    cloud.on(ev.Stored((frame,)), 1.0)
    [send] = cloud.on(ev.Tick(), 1.0 + CloudPolicy().ack_delay)
    assert send.message == ev.Results(1, 65)
    [late] = cloud.on(ev.Detected(frame, (BOX,)), 9.0)
    assert late.message.frames[0].boxes == (BOX,)


@pytest.mark.parametrize(
    ("packed_boxes", "labels", "packs"),
    [(True, ("car",), True), (True, ("bus",), False), (True, (), False), (False, ("car",), False)],
)
def test_boxes_are_packed_for_who_reads_it_and_where_it_can_be_said(packed_boxes, labels, packs):
    cloud = _cloud(labels=labels)
    hello = ev.Hello(CAMERA, "b1", MODEL, want_boxes=True, packed_boxes=packed_boxes)
    welcomes = [a.message for a in _say(cloud, hello) if isinstance(a, ev.Send)]
    assert [w.labels for w in welcomes] == [labels if packed_boxes else ()]
    _say(cloud, ev.Layers(0, (_entry(0),)))
    cloud.on(ev.Stored((FrameId(CAMERA, "b1", 0),)), 1.0)
    send, _ = cloud.on(ev.Detected(FrameId(CAMERA, "b1", 0), (BOX,)), 1.0)
    [result] = send.message.frames
    assert (result.boxes is None) is packs
    assert packs == (result.packed is not None)
    assert not packs or unpack(result.packed, labels) == ((BOX,), ())


def test_an_edge_may_let_answers_be_gathered():
    frames = [FrameId(CAMERA, "b1", seq) for seq in range(3)]
    cloud = _cloud()
    _say(cloud, ev.Hello(CAMERA, "b1", MODEL, want_boxes=True, gather=2.0))
    _say(cloud, ev.Layers(0, tuple(_entry(seq) for seq in range(3))))
    assert cloud.on(ev.Stored((frames[0],)), 1.0) == (ev.ArmTimer(3.0),)
    for frame in frames[:2]:
        assert cloud.on(ev.Detected(frame, (BOX,)), 1.5) == ()
    assert cloud.on(ev.Stored((frames[1],)), 2.0) == ()
    [send] = cloud.on(ev.Tick(), 3.0)
    assert (send.message.acked, [f.seq for f in send.message.frames]) == (2, [0, 1])
    # What heals a chain, or makes the camera forget, is told at once, with what is held.
    cloud.on(ev.Stored((frames[2],)), 4.0)
    [broken, _] = cloud.on(ev.Detected(frames[2], None, "the layer before it is missing"), 4.5)
    assert (broken.message.acked, broken.message.frames[0].reason != "") == (3, True)


def test_gathered_boxes_are_told_together_to_who_reads_it():
    frames = [FrameId(CAMERA, boot, seq) for boot, seq in (("b1", 1), ("b1", 0), ("old", 7))]
    cloud = _cloud(labels=("car",))
    hello = ev.Hello(CAMERA, "b1", MODEL, want_boxes=True, packed_boxes=True, gather=2.0)
    _say(cloud, replace(hello, packed_results=True))
    entries = [ev.LayerEntry("old" if f.boot == "old" else "", f.seq, 1.0, b"x") for f in frames]
    _say(cloud, ev.Layers(0, tuple(entries)))
    cloud.on(ev.Stored(tuple(frames)), 1.0)
    for frame in frames:
        assert cloud.on(ev.Detected(frame, (BOX,)), 1.5) == ()
    [send] = cloud.on(ev.Tick(), 3.0)
    [other] = send.message.frames
    assert (other.boot, other.seq) == ("old", 7)
    told = unpack_frames(send.message.packed, ("car",))
    assert [(seen.seq, seen.boxes) for seen in told] == [(0, (BOX,)), (1, (BOX,))]


def test_answers_are_gathered_no_longer_than_there_is_credit():
    cloud = _cloud(policy=CloudPolicy(window=8))
    _say(cloud, ev.Hello(CAMERA, "b1", MODEL, gather=9.0))
    for seq in range(7):
        _say(cloud, ev.Layers(seq, (_entry(seq),)))
        said = cloud.on(ev.Stored((FrameId(CAMERA, "b1", seq),)), 1.0)
        assert any(isinstance(action, ev.Send) for action in said) == (seq == 6)
    assert cloud.state is CloudState.LIVE


def test_a_parting_session_says_what_it_held():
    cloud = _cloud()
    _say(cloud, ev.Hello(CAMERA, "b1", MODEL, want_boxes=True, gather=9.0))
    _say(cloud, ev.Layers(0, (_entry(0),)))
    cloud.on(ev.Stored((FrameId(CAMERA, "b1", 0),)), 1.0)
    cloud.on(ev.Detected(FrameId(CAMERA, "b1", 0), (BOX,)), 1.0)
    sent = [a.message for a in cloud.on(ev.Draining(), 2.0) if isinstance(a, ev.Send)]
    assert [type(message) for message in sent] == [ev.Results, ev.Goodbye]
    assert (sent[0].acked, len(sent[0].frames)) == (1, 1)


def test_boxes_without_a_wish_for_them_are_not_sent():
    cloud = _cloud()
    _say(cloud, ev.Hello(CAMERA, "b1", MODEL))
    _say(cloud, ev.Layers(0, (_entry(0),)))
    assert cloud.on(ev.Detected(FrameId(CAMERA, "b1", 0), (BOX,)), 0.0) == ()


def test_an_edge_that_is_done_is_told_so_by_a_server_that_was_about_to_leave():
    pair = _live()
    pair.code()
    pair.deliver_up(pair.wire)
    pair.answer_job()
    pair.drain()  # waits for the boxes
    pair.deliver_down()
    pair.end_source()
    pair.deliver_up(pair.wire)
    pair.detect()
    for _ in range(3):
        pair.deliver_down()
    assert pair.finished
    assert "edge   Close DONE" in pair.log
    assert pair.boxed == set(pair.coded)


def test_late_answers_to_a_closed_session_are_ignored():
    cloud = _cloud()
    _say(cloud, ev.Hello(CAMERA, "b1", MODEL))
    _say(cloud, ev.Layers(0, (_entry(0),)))
    cloud.on(ev.Superseded(), 0.0)
    assert cloud.on(ev.Stored((FrameId(CAMERA, "b1", 0),)), 0.0) == ()
    assert cloud.on(ev.Draining(), 0.0) == ()


def test_the_rim_is_told_of_its_own_mistakes():
    edge = EdgeSession(CAMERA, "b1", MODEL, random=lambda: 0.5)
    with pytest.raises(LocalProtocolError):
        edge.on(ev.Connected(), 0.0)
    edge.on(ev.Started(), 0.0)
    edge.on(ev.FrameCoded(3, 1.0, b"x"), 0.0)
    with pytest.raises(LocalProtocolError):
        edge.on(ev.FrameCoded(3, 1.0, b"x"), 0.0)
    edge.on(ev.SourceEnded(), 0.0)
    with pytest.raises(LocalProtocolError):
        edge.on(ev.FrameCoded(4, 1.0, b"x"), 0.0)
    with pytest.raises(RemoteProtocolError):
        EdgeSession("Not A Name", "b1", MODEL, random=lambda: 0.5)
    with pytest.raises(LocalProtocolError):
        _cloud().on(ev.Connected(), 0.0)


def test_an_early_tick_does_no_harm_and_keeps_the_timer():
    edge = EdgeSession(CAMERA, "b1", MODEL, random=lambda: 0.5)
    edge.on(ev.Started(), 0.0)
    edge.on(ev.Connected(), 0.0)
    assert edge.on(ev.Tick(), 4.0) == (ev.ArmTimer(10.0),)
