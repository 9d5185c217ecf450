"""The table of the hub's API, from which routes, documentation and metrics are made."""

import inspect
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from talkoot.core import errors
from talkoot.crypto.signed import Signed
from talkoot.wire import messages as m
from talkoot.wire.client import HELLO_PATH, ErrorReply, Hello
from talkoot.wire.envelope import EPOCH_HEADER, MEDIA_TYPE


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One signed call."""

    path: str
    body: type[msgspec.Struct]
    reply: type[msgspec.Struct]
    who: str
    does: str
    strangers: bool = False
    """Whether a key that the hub does not know may call it."""


ENDPOINTS: Final = (
    Endpoint("/v1/invite", m.Invite, m.Invited, "an owner of the project", "make a ticket"),
    Endpoint("/v1/join", m.Join, m.Joined, "anybody: the ticket decides", "redeem a ticket, lend a device", strangers=True),
    Endpoint("/v1/leave", m.Leave, m.Nothing, "the node or its owner", "take a device back"),
    Endpoint("/v1/blobs/put", m.PutBlobs, m.Nothing, "members who may submit", "put programs and environments"),
    Endpoint(
        "/v1/blobs/get",
        m.GetBlobs,
        m.Blobs,
        "nodes with a live attempt of a job that names the content, members of the project of such a job",
        "get programs and environments",
    ),
    Endpoint("/v1/jobs/submit", m.Submit, m.Submitted, "members who may submit", "submit a job with its first tasks"),
    Endpoint("/v1/jobs/add", m.Add, m.Submitted, "the submitter", "add tasks to a job"),
    Endpoint("/v1/jobs/cancel", m.Cancel, m.Nothing, "the submitter", "cancel a job, or some of its tasks"),
    Endpoint("/v1/jobs/answers", m.ReadAnswers, m.Answers, "the submitter", "read answers, or wait for some (long poll)"),
    Endpoint("/v1/exchange", m.Exchange, m.Exchanged, "a node", "hand in receipts, get leases and cancels (long poll)"),
    Endpoint("/v1/view/jobs", m.ViewJobs, m.JobRows, "members: jobs of their projects", "look at the newest jobs"),
    Endpoint("/v1/view/job", m.ViewJob, m.JobView, "members: jobs of their projects", "look at one job"),
    Endpoint("/v1/view/task", m.ViewTask, m.TaskView, "members: jobs of their projects", "look at one task and its story"),
    Endpoint("/v1/view/hub", m.Nothing, m.HubView, "members and nodes", "look at the hub"),
)

_PARTS: Final = (
    Signed,
    m.Item,
    m.TaskRef,
    m.Answer,
    m.Progress,
    m.AnswerData,
    m.ReceiptBatch,
    m.Lending,
    m.Lease,
    m.LeaseItem,
)
_INTRO: Final = f"""# HTTP API

<!-- Made by `talkoot.hub.endpoints.page()`; a test compares. -->

A hub listens on loopback. Every call but two is a signed POST; nothing is believed that is not signed.

- **Request**: `POST path`, body = MessagePack of `Signed` (see [signatures](signatures.md)) of kind `request`, whose
  payload is MessagePack of `Request`: hub, epoch, nonce, path, and the body named below as bytes. At most 32 MiB.
- **Reply**: MessagePack of the type named below, media type `{MEDIA_TYPE}`. Structs are arrays in the order of their fields;
  new fields are added at the end, and readers pass over what they do not know.
- **Header `{EPOCH_HEADER}`** in every reply: the epoch that the next request has to name.
- **Errors**: a status other than 200 and a map `{{code, message, hint}}`. The code is stable; see below.
- **Host**: requests whose `Host` is not a name of loopback are refused (DNS rebinding).

`GET {HELLO_PATH}` gives a map of what the hub says of itself, unsigned: HELLO. `GET /healthz` is 200 while the hub works.
`GET /metrics` has counters and gauges for Prometheus. `GET /` and `/jobs/ID` are pages to read; they show no answers.
"""


def page() -> str:
    """The reference page of the API, in Markdown."""
    hello = ", ".join(f"`{name}`" for name in Hello.__struct_fields__)
    return "\n".join([_INTRO.replace("HELLO", hello), *_calls(), *_messages(), *_errors()]) + "\n"


def _calls() -> Iterator[str]:
    yield "## Calls\n\n| path | body | reply | who may | what for |\n|---|---|---|---|---|"
    for e in ENDPOINTS:
        yield f"| `{e.path}` | {_link(e.body)} | {_link(e.reply)} | {e.who} | {e.does} |"


def _messages() -> Iterator[str]:
    yield "\n## Messages"
    listed: set[type[msgspec.Struct]] = {*_PARTS, *(e.body for e in ENDPOINTS), *(e.reply for e in ENDPOINTS)}
    for kind in sorted(listed, key=lambda kind: kind.__name__):
        yield f"\n### {kind.__name__}\n"
        doc = inspect.getdoc(kind)
        if doc and doc != inspect.getdoc(msgspec.Struct):
            yield f"{doc.replace(chr(10), ' ')}\n"
        if not kind.__struct_fields__:
            yield "No fields."
        hints = typing.get_type_hints(kind)
        for field in msgspec.structs.fields(kind):
            default = "" if field.required else f" = {field.default!r}"
            yield f"- `{field.name}`: {_type_text(hints[field.name])}{default}"


def _errors() -> Iterator[str]:
    yield "\n## Errors\n\n| code | status | |\n|---|---|---|"
    tree = errors._tree(errors.TalkootError)
    for code, kind in sorted(tree.items()):
        api = kind.__module__ == errors.__name__  # other rooms may have errors of their own; no call answers with them
        if api and not issubclass(kind, errors.TaskFailed) and kind is not errors.TalkootError:
            yield f"| `{code}` | {kind.http_status} | {(inspect.getdoc(kind) or '').splitlines()[0]} |"
    yield f"\nThe body of an error is a map: {', '.join(f'`{name}`' for name in ErrorReply.__struct_fields__)}."


def _link(kind: type) -> str:
    return f"[{kind.__name__}](#{kind.__name__.lower()})"


def _type_text(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and len(args) == 2 and args[1] is ...:
        return f"list of {_type_text(args[0])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_text(arg) for arg in args)
    if hint is type(None):
        return "nil"
    return str(getattr(hint, "__name__", hint))


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
