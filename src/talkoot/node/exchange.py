"""The channels from a node to its hub.

A poll is always parked at the hub, so that work and cancels arrive at once. Receipts do not wait for it: they go out
on a channel of their own, with whatever gathered while the last request was out. What no answer came to is sent again,
for as long as it takes: the hub counts each receipt once.
"""

import threading
from collections.abc import Callable
from typing import Final

from talkoot.core import limits
from talkoot.core.errors import BadInput, CodecError, Conflict, Refused, Replayed, StaleEpoch, TalkootError, Unavailable
from talkoot.core.types import NodeDescription
from talkoot.crypto.keys import SigningKey
from talkoot.node.desk import Desk, Outgoing
from talkoot.node.heads import Heads
from talkoot.node.jobs import Jobs
from talkoot.node.logs import log
from talkoot.node.receipts import sign_batch
from talkoot.node.signals import Lost, Rejected, Replied, WentUnanswered, Work
from talkoot.node.state import REPORT
from talkoot.wire.client import Backoff, Client
from talkoot.wire.messages import Exchange, Exchanged

PATH: Final = "/v1/exchange"
POLL_S: Final = min(20.0, limits.DEFAULT_SILENCE_S / 3)
"""How long the hub is asked to keep a poll: three of them fit into the time after which a node counts as silent."""
REPLY_TIMEOUT_S: Final = 20.0
"""Beyond the time for which the hub was asked to wait."""
POLLS: Final = ("poll-1", "poll-2")
"""The second one is sent when more is free than the first offers; the hub answers the first then."""
_POLL_CHANNEL, _REPORT_CHANNEL = 0, 1


class Channels:
    """Three threads: two polls, of which mostly one is out, and the reports."""

    def __init__(
        self,
        client: Client,
        key: SigningKey,
        hub: bytes,
        *,
        boot: bytes,
        description: NodeDescription,
        desk: Desk,
        jobs: Jobs,
        heads: Heads,
        gone: Callable[[str], None],
        heard: Callable[[bool], None],
    ) -> None:
        """`gone` is told why the node cannot go on; `heard` whether the hub answers, when that changes."""
        self._client, self._key, self._hub, self._boot = client, key, hub, boot
        self._description = description
        self._desk, self._jobs, self._heads = desk, jobs, heads
        self._gone, self._heard = gone, heard
        self._describe = True
        self._answers: bool | None = None
        self._most_receipts = limits.MAX_RECEIPTS_PER_EXCHANGE
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self._poll, args=(name,), name=f"talkoot-{name}", daemon=True) for name in POLLS]
        self._threads.append(threading.Thread(target=self._report, name="talkoot-report", daemon=True))

    def start(self) -> None:
        """Start talking."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Send nothing more. Requests that are out end when the client is closed."""
        self._closed.set()
        self._desk.close()

    def join(self, timeout_s: float) -> None:
        """Wait for the threads."""
        for thread in self._threads:
            thread.join(timeout_s)

    def _poll(self, name: str) -> None:
        self._talk(name, _POLL_CHANNEL, POLL_S, lambda: self._desk.next_poll(name))

    def _report(self) -> None:
        self._talk(REPORT, _REPORT_CHANNEL, 0.0, lambda: self._desk.next_report(self._most_receipts))

    def _talk(self, name: str, channel: int, wait_s: float, due: Callable[[], Outgoing | None]) -> None:
        backoff = Backoff()
        try:
            while (outgoing := due()) is not None:
                self._exchange(name, channel, outgoing, wait_s, backoff)
        except Exception as error:
            # A node that only seems to be there is worse than none.
            log.exception("a channel failed", channel=name)
            self._gone(f"an error of the node itself in a channel: {type(error).__name__}")
            raise

    def _exchange(self, name: str, channel: int, outgoing: Outgoing, wait_s: float, backoff: Backoff) -> None:
        described = self._describe
        request = self._request(outgoing, channel, wait_s, described=described)
        try:
            reply = self._client.call(PATH, request, Exchanged, timeout_s=wait_s + REPLY_TIMEOUT_S)
        except TalkootError as error:
            self._desk.tell(WentUnanswered(name))
            if self._closed.is_set():
                return
            pause_s = self._failed(error, outgoing, backoff)
            self._closed.wait(pause_s)
            return
        backoff.reset()
        self._notice(answers=True)
        self._describe = reply.describe or (self._describe and not described)
        if reply.describe:
            log.info("the hub took this node for gone; it says again what it is")
            self._desk.tell(WentUnanswered(name))
            self._desk.tell(Lost())
            return
        try:
            self._heads.take(reply.checkpoint, request.checkpoint_size)
        except TalkootError as error:
            self._desk.tell(WentUnanswered(name))
            self._gone(error.message)
            return
        self._most_receipts = min(limits.MAX_RECEIPTS_PER_EXCHANGE, 2 * self._most_receipts)
        self._desk.tell(Replied(name, self._works(reply), reply.cancels, reply.accepted))
        if reply.goodbye:
            self._gone(f"the hub gives this node no more work: {reply.goodbye}")

    def _request(self, outgoing: Outgoing, channel: int, wait_s: float, *, described: bool) -> Exchange:
        reports = outgoing.draft.reports
        return Exchange(
            boot=self._boot,
            description=self._description if described else None,
            batch=sign_batch(self._key, self._hub, reports),
            receipts=tuple(report.receipt for report in reports),
            answers=tuple(report.answer for report in reports),
            handed_back=outgoing.draft.handed_back,
            want=outgoing.draft.want,
            wait_s=wait_s,
            jobs=self._jobs.held(),
            checkpoint_size=self._heads.size,
            channel=channel,
            leases=outgoing.leases,
        )

    def _works(self, reply: Exchanged) -> tuple[Work, ...]:
        works: list[Work] = []
        for lease in reply.leases:
            cpus = self._jobs.note(lease)
            works += [Work(lease.job, item, cpus, lease.lease) for item in lease.items]
        return tuple(works)

    def _failed(self, error: TalkootError, outgoing: Outgoing, backoff: Backoff) -> float:
        """What a failed exchange means; gives the seconds to wait before the next."""
        refused = isinstance(error, (Refused, BadInput, Conflict)) and not isinstance(error, (Replayed, StaleEpoch, CodecError))
        if refused and outgoing.draft.reports and error.code != "not_allowed":
            self._narrow_down(outgoing, error)
            return 0.0
        if refused or isinstance(error, CodecError):
            self._gone(error.message)
        elif isinstance(error, Unavailable):
            self._notice(answers=False, why=error.message)
        else:
            log.warning("an exchange failed", code=error.code, reason=error.message)
        return backoff.next()

    def _narrow_down(self, outgoing: Outgoing, error: TalkootError) -> None:
        """The hub refuses a whole batch for one receipt: find that one, and let it go."""
        reports = outgoing.draft.reports
        if len(reports) > 1:
            self._most_receipts = len(reports) // 2
            return
        attempt = reports[0].answer.attempt
        log.error(
            "the hub does not take a receipt; the task is refused instead",
            attempt=attempt,
            code=error.code,
            reason=error.message,
        )
        self._desk.tell(Rejected(attempt))

    def _notice(self, *, answers: bool, why: str = "") -> None:
        if answers is self._answers:
            return
        self._answers = answers
        if answers:
            log.info("the hub answers")
        else:
            log.warning("the hub does not answer; what is done here is kept, and sent when it does", reason=why)
        self._heard(answers)
