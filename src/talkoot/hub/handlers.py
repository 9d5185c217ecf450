"""What each call of the API does: from a signed body to a reply. One function a path, in the order of the table."""

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

import talkoot
from talkoot.core import limits
from talkoot.core.errors import BadInput, TalkootError
from talkoot.crypto.signed import Signed, encode_signed
from talkoot.hub import answers as reading
from talkoot.hub import blobs, task_view, views
from talkoot.hub.commands import exchange as exchanging
from talkoot.hub.commands import jobs, people
from talkoot.hub.offers import Query
from talkoot.hub.polls import Poll, Turn
from talkoot.hub.service import Patience, Service
from talkoot.wire import messages as m
from talkoot.wire.tickets import SECRET_BYTES, Ticket, write_ticket

MAX_TICKET_LIFETIME_S: Final = 366 * 24 * 3600
_IMPATIENT_LOOKS: Final = 4
_PAUSE_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Call:
    """One request, opened and admitted."""

    signed: Signed
    gone: Callable[[], Coroutine[Any, Any, None]]
    """Ends when the asker is not there any more."""

    @property
    def key(self) -> bytes:
        """Whose request it is."""
        return self.signed.key

    @property
    def will(self) -> bytes:
        """The signed request itself, for the log."""
        return encode_signed(self.signed)


async def invite(service: Service, call: Call, body: m.Invite) -> m.Invited:
    """Make a ticket; its secret is in the reply and nowhere else."""
    if not 0 < body.lifetime_s <= MAX_TICKET_LIFETIME_S:
        raise BadInput(f"a ticket is good for up to {MAX_TICKET_LIFETIME_S} seconds, not {body.lifetime_s:g}")
    secret = os.urandom(SECRET_BYTES)
    expires_ms = time.time_ns() // 1_000_000 + math.ceil(body.lifetime_s * 1000)
    await service.command("invite", lambda tx: people.invite(tx, call.key, body, secret, expires_ms), call.will)
    ticket = Ticket(service.address, service.hub, body.project, body.role, expires_ms, secret)
    return m.Invited(write_ticket(service.key, ticket))


async def join(service: Service, call: Call, body: m.Join) -> m.Joined:
    """Redeem a ticket, lend a device, or both."""
    return await service.command("join", lambda tx: people.join(tx, call.key, body), call.will)


async def leave(service: Service, call: Call, body: m.Leave) -> m.Nothing:
    """A node hands back what it holds and leaves."""
    await service.command("leave", lambda tx: people.leave(tx, call.key, body), call.will)
    return m.Nothing()


async def put_blobs(service: Service, call: Call, body: m.PutBlobs) -> m.Nothing:
    """Keep programs and environments."""
    await service.read(lambda query: blobs.check_may_put(query, call.key))
    named = blobs.name(body)
    await service.command("blobs.put", lambda tx: blobs.put(tx, named))
    return m.Nothing()


async def get_blobs(service: Service, call: Call, body: m.GetBlobs) -> m.Blobs:
    """Programs and environments by their ids."""
    return m.Blobs(await service.read(lambda query: blobs.get(query, call.key, body)))


async def submit(service: Service, call: Call, body: m.Submit) -> m.Submitted:
    """A new job with its first tasks."""
    return await service.command("jobs.submit", lambda tx: jobs.submit(tx, call.key, body), call.will)


async def add(service: Service, call: Call, body: m.Add) -> m.Submitted:
    """More tasks for a job."""
    return await service.command("jobs.add", lambda tx: jobs.add(tx, call.key, body), call.will)


async def cancel(service: Service, call: Call, body: m.Cancel) -> m.Nothing:
    """Stop a job, or some of its tasks."""
    return await service.command("jobs.cancel", lambda tx: jobs.cancel(tx, call.key, body), call.will)


async def answers(service: Service, call: Call, body: m.ReadAnswers) -> m.Answers:
    """What has settled since the cursor; waits when there is nothing and the job goes on."""
    wait_s = min(body.wait_s, limits.MAX_LONG_POLL_S) if body.wait_s > 0 else 0.0
    if wait_s == 0:
        return reading.as_reply(await _look(service, call, body, body.after, report=True))
    deadline = time.monotonic() + wait_s
    with Patience(service, call.gone()) as patience, service.bells.hung(body.job, patience.wake):
        cursor, looks = max(0, body.after), 0
        while True:
            patience.wake.clear()
            last = patience.over or time.monotonic() >= deadline
            if last or service.glance(partial(reading.has_news, submitter=call.key, job=body.job, after=cursor)):
                page = await _look(service, call, body, cursor, report=last)
                if page.progress is not None:
                    return reading.as_reply(page)
                cursor = page.cursor
            looks += 1
            if looks > _IMPATIENT_LOOKS:  # a job that moves without settling would have us look at every commit
                await patience.pause(_PAUSE_S)
            await patience.wait(deadline - time.monotonic())


async def _look(service: Service, call: Call, body: m.ReadAnswers, after: int, *, report: bool) -> reading.Page:
    return await service.read(
        lambda query: reading.look(query, call.key, body.job, after, provisional=body.provisional, report=report)
    )


async def exchange(service: Service, call: Call, body: m.Exchange) -> m.Exchanged:
    """Receipts in, leases out; waits when there is nothing to say."""
    if len(call.signed.payload) > limits.LARGE_BODY_BYTES:
        await asyncio.to_thread(exchanging.check, body, call.key, service.hub)
        body = msgspec.structs.replace(body, wait_s=0.0)  # a request that is kept keeps its body: this one is too large
    else:
        exchanging.check(body, call.key, service.hub)
    poll = service.polls.poll(call.key, body)
    if not poll.waits:
        turn: Turn = await service.writer.ask(poll.command())
        return turn.reply
    with Patience(service, call.gone()) as patience:
        poll.delivery.add_done_callback(lambda _: patience.wake.set())
        try:
            turn = await service.writer.ask(poll.command())
        except TalkootError:
            poll.give_up()
            raise
        return await _wait_for_delivery(poll, turn, patience) if turn.parked else turn.reply


async def _wait_for_delivery(poll: Poll, turn: Turn, patience: Patience) -> m.Exchanged:
    await patience.wait(poll.wait_s)
    if not poll.delivery.done():
        poll.give_up()
    delivered = await poll.delivery
    if patience.gone:
        poll.undelivered(turn, delivered)
    return msgspec.structs.replace(delivered, checkpoint=delivered.checkpoint or turn.reply.checkpoint)


async def view_jobs(service: Service, call: Call, body: m.ViewJobs) -> m.JobRows:
    """The newest jobs of the caller's projects."""
    return m.JobRows(await service.read(lambda query: views.jobs(query, call.key, body.limit)))


async def view_job(service: Service, call: Call, body: m.ViewJob) -> m.JobView:
    """One job."""
    return await service.read(lambda query: views.job(query, call.key, body))


async def view_task(service: Service, call: Call, body: m.ViewTask) -> m.TaskView:
    """One task."""
    return await service.read(lambda query: task_view.task(query, call.key, body))


async def view_hub(service: Service, call: Call, body: m.Nothing) -> m.HubView:
    """The hub as a whole."""
    return await service.read(lambda query: _hub(service, query, call.key))


def _hub(service: Service, query: Query, viewer: bytes) -> m.HubView:
    views.check_may_see_hub(query, viewer)
    return views.hub(query, service.settings.name, talkoot.__version__, service.key, service.origin)


Handler = Callable[[Service, Call, Any], Awaitable[msgspec.Struct]]
HANDLERS: Final[dict[str, Handler]] = {
    "/v1/invite": invite,
    "/v1/join": join,
    "/v1/leave": leave,
    "/v1/blobs/put": put_blobs,
    "/v1/blobs/get": get_blobs,
    "/v1/jobs/submit": submit,
    "/v1/jobs/add": add,
    "/v1/jobs/cancel": cancel,
    "/v1/jobs/answers": answers,
    "/v1/exchange": exchange,
    "/v1/view/jobs": view_jobs,
    "/v1/view/job": view_job,
    "/v1/view/task": view_task,
    "/v1/view/hub": view_hub,
}
