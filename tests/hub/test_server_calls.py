"""The hub over HTTP: who may say what, and the way from a submission to answers."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time

import msgspec
import pytest

from talkoot.core import codec, ids, limits
from talkoot.core.errors import (
    BadInput,
    BadSignature,
    Conflict,
    NotAllowed,
    NotFound,
    PortInUse,
    Replayed,
    StaleEpoch,
    TicketError,
    TooLarge,
)
from talkoot.crypto import merkle
from talkoot.crypto.checkpoint import open_checkpoint
from talkoot.crypto.keys import SigningKey
from talkoot.crypto.signed import Kind, verify
from talkoot.hub.serve import HubServer
from talkoot.wire import messages as m
from talkoot.wire.client import Client, ErrorReply, hello
from talkoot.wire.envelope import EPOCH_HEADER, MEDIA_TYPE, parse_epoch, seal
from talkoot.wire.tickets import Ticket, read_ticket, write_ticket


def post(hub, path, data, headers=None):
    """(status, headers, body) of a bare POST."""
    host, port = hub.address.removeprefix("http://").split(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
        connection.request("POST", path, data, {"content-type": MEDIA_TYPE} | (headers or {}))
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def get(hub, path, headers=None):
    host, port = hub.address.removeprefix("http://").split(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def error_of(body):
    return msgspec.msgpack.decode(body, type=ErrorReply)


def sealed(hub, key, path, body, epoch=None):
    epoch = epoch or hello(hub.address).epoch
    return seal(key, hub.key, epoch, os.urandom(16), path, msgspec.msgpack.encode(body))


# Saying hello.


def test_hello_says_who_the_hub_is(steady):
    said = hello(steady.address)
    assert (said.hub, said.name, said.price_microcredits) == (steady.key, "test hub", 1_000)


def test_every_reply_has_the_epoch_and_the_headers_that_browsers_heed(steady):
    for status, headers, _ in (get(steady, "/v1/hello"), get(steady, "/v1/nowhere"), post(steady, "/v1/exchange", b"no")):
        assert status in (200, 400, 404)
        assert parse_epoch(headers[EPOCH_HEADER]) == hello(steady.address).epoch
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_health_and_metrics(hub):
    assert get(hub, "/healthz")[::2] == (200, b"ok\n")
    hub.operator.call("/v1/view/hub", m.Nothing(), m.HubView)
    text = get(hub, "/metrics")[2].decode()
    assert 'talkoot_requests_total{outcome="ok",path="/v1/view/hub"} 1.0' in text
    assert "talkoot_log_entries 1.0" in text


# Joining.


def test_a_ticket_makes_a_stranger_a_member_once(hub):
    ticket = hub.operator.invite("researcher")
    person = hub.member()
    assert person.join(ticket).role == "researcher"
    assert person.join(ticket).role == "researcher"  # again by the same key changes nothing
    with pytest.raises(TicketError, match="used by somebody else"):
        hub.member().join(ticket)


def test_an_expired_ticket_is_refused_by_the_hub_itself(hub):
    ticket = hub.operator.invite(lifetime_s=0.001)
    time.sleep(0.005)
    with pytest.raises(TicketError, match="expired"):
        hub.operator.__class__(hub).join(ticket)


def test_a_tampered_ticket_and_one_of_another_hub_are_refused(hub, serve_hub, tmp_path):
    ticket = hub.operator.invite()
    with pytest.raises(TicketError):
        read_ticket(ticket[:-4] + "aaaa", now_ms=0)
    stranger = hub.operator.__class__(hub)
    forged = write_ticket(
        SigningKey.from_seed(b"f" * 32),
        Ticket(hub.address, SigningKey.from_seed(b"f" * 32).public, "default", "owner", 10**13, os.urandom(16)),
    )
    with pytest.raises(TicketError, match="never issued"):
        stranger.join(forged)
    other = serve_hub(tmp_path / "other")
    with pytest.raises(TicketError, match="never issued"):
        stranger.join(other.operator.invite())


def test_only_an_owner_invites_and_only_for_a_sane_time(steady):
    with pytest.raises(NotAllowed, match="only an owner"):
        steady.member().invite()
    for lifetime_s in (0.0, -1.0, float("nan"), float("inf"), 1e12):
        with pytest.raises(BadInput, match="a ticket is good for"):
            steady.operator.invite(lifetime_s=lifetime_s)


# Signatures.


def test_a_key_that_nobody_knows_may_only_join(steady):
    stranger = steady.operator.__class__(steady)
    for path, body in (("/v1/view/hub", m.Nothing()), ("/v1/jobs/cancel", m.Cancel(bytes(16)))):
        with pytest.raises(NotAllowed, match="does not know your key"):
            stranger.call(path, body)
    with pytest.raises(NotAllowed):
        stranger.join("")


def test_a_changed_request_is_refused(steady):
    data = bytearray(sealed(steady, steady.operator.key, "/v1/view/hub", m.Nothing()))
    data[-1] ^= 1
    status, _, body = post(steady, "/v1/view/hub", bytes(data))
    assert (status, error_of(body).code) == (401, "bad_signature")


def test_a_request_signed_for_another_path_or_hub_is_refused(steady):
    data = sealed(steady, steady.operator.key, "/v1/view/jobs", m.ViewJobs())
    assert error_of(post(steady, "/v1/view/hub", data)[2]).code == "bad_signature"
    elsewhere = seal(steady.operator.key, b"x" * 32, bytes(16), bytes(16), "/v1/view/hub", b"\x90")
    assert error_of(post(steady, "/v1/view/hub", elsewhere)[2]).code == "bad_signature"


def test_a_request_is_worth_nothing_twice(steady):
    data = sealed(steady, steady.operator.key, "/v1/view/hub", m.Nothing())
    assert post(steady, "/v1/view/hub", data)[0] == 200
    status, _, body = post(steady, "/v1/view/hub", data)
    assert (status, error_of(body).code) == (Replayed.http_status, "replayed")


def test_a_request_of_an_old_epoch_is_signed_again_by_the_client(steady):
    data = sealed(steady, steady.operator.key, "/v1/view/hub", m.Nothing(), epoch=b"e" * 16)
    assert error_of(post(steady, "/v1/view/hub", data)[2]).code == StaleEpoch.code


@pytest.mark.parametrize("junk", [b"", b"\x00", b"\xc1" * 100, b"\x94" * 5000, b"\x94\xa7request\xc4\x00\xc4\x00\xc4\x00"])
def test_junk_is_refused_without_a_word_about_the_hub(steady, junk):
    status, _, body = post(steady, "/v1/exchange", junk)
    assert status in (400, 401)
    assert "Traceback" not in error_of(body).message


def test_a_signed_body_that_is_no_message_is_refused(steady):
    data = seal(steady.operator.key, steady.key, hello(steady.address).epoch, os.urandom(16), "/v1/jobs/submit", b"\xc1")
    assert error_of(post(steady, "/v1/jobs/submit", data)[2]).code == "bad_input"


# Sizes and names.


def test_what_is_too_large_is_refused_before_it_is_read(steady):
    with socket.create_connection(tuple(steady.address.removeprefix("http://").split(":")), timeout=10) as connection:
        length = limits.MAX_REQUEST_BYTES + 1
        connection.sendall(f"POST /v1/exchange HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {length}\r\n\r\n".encode())
        assert connection.recv(200).startswith(b"HTTP/1.1 413")


def test_a_body_of_unknown_length_is_refused(steady):
    status, _, body = post(steady, "/v1/exchange", iter([b"12", b"34"]), {"transfer-encoding": "chunked"})
    assert (status, "length" in error_of(body).message) == (400, True)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8470", "10.0.0.1", "", "127.0.0.1@evil", "[::2]:1"])
def test_a_request_for_another_name_is_refused(steady, host):
    for path in ("/", "/v1/hello", "/static/talkoot.css"):
        status, headers, body = get(steady, path, {"host": host})
        assert (status, error_of(body).code) == (403, "not_allowed")
        assert "content-security-policy" in headers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:8470", "127.8.8.8:99"])
def test_a_request_for_a_name_of_loopback_is_answered(steady, host):
    assert get(steady, "/v1/hello", {"host": host})[0] == 200


def test_the_wrong_method_and_an_unknown_path_say_so(steady):
    assert get(steady, "/v1/exchange")[0] == 405
    status, _, body = get(steady, "/v1/nowhere")
    assert (status, error_of(body).code) == (404, "not_found")


# Content.


def test_programs_are_for_the_project_and_for_nodes_that_hold_a_lease(hub):
    job = hub.operator.submit([1])
    device = hub.device()
    digests = (ids.program_id(b"square"),)
    stranger = hub.device("other")
    with pytest.raises(NotFound):
        device.client.call("/v1/blobs/get", m.GetBlobs(digests), m.Blobs)
    ((job_id, *_),) = device.take()
    assert job_id == job
    assert device.client.call("/v1/blobs/get", m.GetBlobs(digests), m.Blobs).blobs == (b"square",)
    assert hub.member("researcher").call("/v1/blobs/get", m.GetBlobs(digests), m.Blobs).blobs == (b"square",)
    with pytest.raises(NotFound):
        stranger.client.call("/v1/blobs/get", m.GetBlobs(digests), m.Blobs)


def test_content_is_checked_when_it_is_put(steady):
    put = steady.operator.call
    with pytest.raises(TooLarge, match="a program of"):
        put("/v1/blobs/put", m.PutBlobs(("program",), (bytes(limits.MAX_PROGRAM_BYTES + 1),)))
    with pytest.raises(BadInput, match="lock"):
        put("/v1/blobs/put", m.PutBlobs(("environment",), (b"no lock",)))
    with pytest.raises(BadInput, match="not a kind"):
        put("/v1/blobs/put", m.PutBlobs(("answer",), (b"",)))
    with pytest.raises(BadInput, match="each blob has one kind"):
        put("/v1/blobs/put", m.PutBlobs((), (b"",)))
    with pytest.raises(NotAllowed):
        steady.member("contributor").call("/v1/blobs/put", m.PutBlobs(("program",), (b"p",)))


# The whole way.


def test_from_submission_to_paid_answers_that_can_be_proved(hub):
    job = hub.operator.submit(range(5))
    a, b = hub.device("a"), hub.device("b")
    assert a.work(5) == 5
    assert hub.operator.answers(job).answers == ()
    early = hub.operator.answers(job, provisional=True)
    assert [(answer.index, answer.state) for answer in early.answers] == [(i, "provisional") for i in range(5)]
    assert early.progress.confidence_ppm == 0
    assert b.work(5) == 5
    reply = hub.operator.answers(job, early.cursor)
    assert {x.index: codec.decode(x.answer) for x in reply.answers} == {i: i * i for i in range(5)}
    assert {(x.state, x.cost_microcredits, x.attempts) for x in reply.answers} == {("final", 200, 2)}
    assert (reply.progress.state, reply.progress.spent_microcredits) == ("done", 1000)
    assert hub.operator.answers(job, reply.cursor, wait_s=20).answers == ()  # a job that is over keeps nobody waiting

    view = hub.operator.call("/v1/view/task", m.ViewTask(job, 3), m.TaskView)
    assert [attempt.state for attempt in view.attempts] == ["accepted", "accepted"]
    assert len({attempt.value for attempt in view.attempts}) == 1
    for attempt, device in zip(view.attempts, (a, b), strict=True):
        batch = msgspec.msgpack.decode(verify(attempt.batch, Kind.RECEIPTS, key=device.key.public), type=m.ReceiptBatch)
        leaf = merkle.leaf_hash(attempt.receipt)
        assert merkle.verify_inclusion(leaf, attempt.leaf, batch.count, attempt.proof, batch.root)
    assert [line.split("  ")[1] for line in view.story] == [
        "operator submitted the job",
        "a (owner of a) got it",
        "a (owner of a) answered, after 0.100 core-seconds",
        "b (owner of b) got it as a further opinion",
        "b (owner of b) answered, after 0.100 core-seconds",
        "the answer is final, sure to 98.7804 %",
        "the answer of a was accepted and paid 0.0001 credits",
        "the answer of b was accepted and paid 0.0001 credits",
    ]
    head = hub.operator.call("/v1/view/hub", m.Nothing(), m.HubView)
    origin = "talkoot/" + ids.key_text(hub.key).removeprefix("did:key:")
    assert open_checkpoint(head.checkpoint, origin, hub.key).size == head.log_size


def test_what_another_answered_is_not_shown_before_the_task_is_settled(hub):
    job = hub.operator.submit([7])
    hub.device("a").work()
    curious = hub.member("contributor")
    seen = curious.call("/v1/view/task", m.ViewTask(job, 0), m.TaskView)
    assert [(attempt.state, attempt.value) for attempt in seen.attempts] == [("answered", b"")]
    assert hub.operator.call("/v1/view/task", m.ViewTask(job, 0), m.TaskView).attempts[0].value


def test_a_receipt_is_provable_though_others_of_its_batch_came_too_late(hub):
    job = hub.operator.submit(range(4))
    a = hub.device("a")
    done = a.take()
    hub.operator.call("/v1/jobs/cancel", m.Cancel(job, (0, 2)))
    a.exchange(done)
    for index, place in ((1, 1), (3, 3)):
        (attempt,) = hub.operator.call("/v1/view/task", m.ViewTask(job, index), m.TaskView).attempts
        batch = msgspec.msgpack.decode(verify(attempt.batch, Kind.RECEIPTS, key=a.key.public), type=m.ReceiptBatch)
        assert (attempt.leaf, batch.count) == (place, 4)
        assert merkle.verify_inclusion(merkle.leaf_hash(attempt.receipt), place, 4, attempt.proof, batch.root)


def test_a_receipt_for_an_attempt_of_another_node_changes_nothing(hub):
    hub.operator.submit([1])
    a, thief = hub.device("a"), hub.device("thief")
    ((job, item, value),) = a.take()
    with pytest.raises(BadSignature, match="never leased"):
        thief.exchange([(job, item, value)])
    with pytest.raises(BadSignature, match="never leased"):
        thief.exchange([(job, msgspec.structs.replace(item, attempt=2**63 - 1), value)])
    a.exchange([(job, item, value)])
    assert hub.rows("SELECT state FROM attempts") == [("answered",)]


def test_numbers_that_no_table_holds_harm_nobody(hub):
    hub.operator.submit([1])
    device = hub.device()
    ((job, item, value),) = device.take()
    for attempt in (2**64 - 1, -(2**63)):
        with pytest.raises((BadInput, BadSignature)):
            device.exchange([(job, msgspec.structs.replace(item, attempt=attempt), value)])
    with pytest.raises((BadInput, NotFound)):
        hub.operator.call("/v1/view/task", m.ViewTask(job, 2**64 - 1), m.TaskView)
    hub.operator.answers(job, after=2**64 - 1)
    with pytest.raises(BadInput):
        hub.operator.call("/v1/jobs/cancel", m.Cancel(job, (2**64 - 1,)))
    assert get(hub, "/healthz")[0] == 200
    assert device.exchange([(job, item, value)]).accepted == (item.attempt,)


def test_somebody_elses_job_cannot_be_read_or_cancelled(hub):
    job = hub.operator.submit([1])
    other = hub.member("researcher")
    with pytest.raises(NotFound):
        other.answers(job)
    with pytest.raises(NotFound):
        other.call("/v1/jobs/cancel", m.Cancel(job))
    assert other.call("/v1/view/job", m.ViewJob(job), m.JobView).row.name == "squares"  # a member of its project may look


def test_why_nothing_runs_is_said_in_words(hub):
    job = hub.operator.submit([1])
    assert "no device is here" in hub.operator.answers(job).progress.why_waiting
    device = hub.device("old")
    device.description = msgspec.structs.replace(device.description, python="3.9")
    device.exchange()
    assert hub.operator.answers(job).progress.why_waiting == "old: it has Python 3.9, and the program is made for 3.11"
    view = hub.operator.call("/v1/view/job", m.ViewJob(job), m.JobView)
    assert [reason.node for reason in view.waiting] == ["old"]


def test_nodes_with_the_same_reason_are_named_together_and_those_that_are_gone_only_in_full_view(hub):
    job = hub.operator.submit([1])
    devices = [hub.device(name) for name in ("a", "b", "gone")]
    for device in devices:
        device.exchange()
    devices[2].client.call("/v1/leave", m.Leave(devices[2].key.public), m.Nothing)
    words = "a, b (each): free to take the task when it next asks for work"
    assert hub.operator.answers(job).progress.why_waiting == words
    view = hub.operator.call("/v1/view/job", m.ViewJob(job), m.JobView)
    assert [reason.node for reason in view.waiting] == ["a", "b", "gone"]


def test_a_job_whose_actions_are_under_way_in_another_says_so(hub):
    hub.operator.submit([1])
    again = hub.operator.submit([1])
    assert hub.operator.answers(again).progress.why_waiting == "the same actions are under way in another job"


def test_answers_come_in_pages_within_the_limits(hub, monkeypatch):
    job = hub.operator.submit(range(7), verifier=__import__("talkoot.core.types", fromlist=["Trust"]).Trust())
    hub.device(slots=8).work(7)
    monkeypatch.setattr(limits, "MAX_ANSWERS_PER_READ", 3)
    cursor, pages = 0, []
    while len(pages) < 5:
        reply = hub.operator.answers(job, cursor)
        if not reply.answers:
            break
        pages.append([answer.index for answer in reply.answers])
        cursor = reply.cursor
    assert pages == [[0, 1, 2], [3, 4, 5], [6]]


# Folder and port.


def test_a_restart_keeps_everything(hub, serve_hub):
    job = hub.operator.submit(range(3))
    a, b = hub.device("a"), hub.device("b")
    done = a.take()
    hub.stop()
    again = serve_hub(hub.data)
    assert again.key == hub.key
    for device in (a, b):
        device.client = Client(again.address, again.key, device.key)
        again.clients.append(device.client)
    assert len(a.exchange(done).accepted) == 3  # what was leased before the restart is still its own
    assert b.work() == 3
    assert {x.state for x in again.operator.answers(job).answers} == {"final"}


def test_a_folder_has_one_hub_and_a_port_one_listener(hub, tmp_path):
    with pytest.raises(Conflict, match="another hub is running"), HubServer(hub.data, operator=b"o" * 32):
        pass
    port = int(hub.address.rsplit(":", 1)[1])
    with pytest.raises(PortInUse, match=str(port)):
        HubServer(tmp_path / "second", operator=b"o" * 32, port=port)
    assert not (tmp_path / "second").exists()
    assert os.stat(hub.data).st_mode & 0o777 == 0o700


def test_a_hub_listens_on_loopback_only(tmp_path):
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(BadInput, match="loopback"):
            HubServer(tmp_path, operator=b"o" * 32, host=host)


def test_sigterm_ends_the_process_cleanly(tmp_path):
    script = (
        "import sys; from pathlib import Path; from talkoot.hub.serve import serve\n"
        "serve(Path(sys.argv[1]), operator=bytes(32), operator_name='o', port=0, ready=lambda a: print(a, flush=True))\n"
        "print('clean', flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path / "hub"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=10)[0] == "clean\n"
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
