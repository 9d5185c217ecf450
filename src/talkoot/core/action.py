"""The action of one task, by the manifest of its job: one rule for the hub that binds it and the node that checks it."""

from collections.abc import Iterable

from talkoot.core import ids
from talkoot.core.types import Manifest


def action_of(manifest: Manifest, arguments: bytes, inputs: Iterable[bytes], position: int | None) -> ids.ActionId:
    """The action id of a task; `inputs` are the digests of the answers that it takes, in the order of its holes."""
    return ids.action_id(
        ids.ProgramId(manifest.program),
        arguments,
        [ids.raw_cid(digest) for digest in inputs],
        ids.EnvironmentId(manifest.environment),
        manifest.seed,
        position,
        manifest.task_limits.cpus,
    )
