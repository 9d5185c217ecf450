"""What can be said of a job when it is submitted: one list, for `map`, `submit` and the manifest."""

import math
import sys
from collections.abc import Sequence
from typing import Final, Literal, TypedDict

import msgspec

from talkoot.core import limits, pricing
from talkoot.core.errors import BadInput, RequirementError
from talkoot.core.requirements import parse_requirements, script_requirements
from talkoot.core.types import Isolation, Quorum, TaskLimits, Verifier
from talkoot.sdk.sizes import parse_size

DEFAULT_BUDGET_MICROCREDITS: Final = 1_000 * pricing.CREDIT
_ATTEMPTS_IN_BUDGET: Final = 4
_MAX_SEED: Final = 2**63


class JobOptions(TypedDict, total=False):
    """The options of a job, all of them optional."""

    requirements: Sequence[str] | None
    """Packages that the function needs, such as `["scikit-learn==1.7.2"]`. None: those in the `# /// script` block
    (PEP 723) of the script that is run, or else none."""
    verify: Verifier | None
    """`talkoot.trust()` or `talkoot.quorum(k, compare=...)`. None: `talkoot.quorum(2)`."""
    pure: bool
    """The answer depends on the arguments alone: equal arguments share one answer, and one seed."""
    seed: int
    """What random numbers start from, together with the place of the task in the job."""
    name: str | None
    """What the job is called. None: the name of the function."""
    memory: str | int
    """What one task may use: `"1GiB"`, or bytes."""
    scratch: str | int
    """Room for temporary files of one task."""
    time_s: float
    """How long one task may take."""
    cpus: int
    isolate: Literal["job", "task"]
    """Whether tasks of the job share a sandbox one after the other, or each gets a fresh one."""
    budget: float | None
    """Credits that the job may cost at most."""
    price_cap: float | None
    """Credits that a core-second may cost at most. None: the hub's price."""


class Options(msgspec.Struct, frozen=True):
    """The options, checked and in the form of the manifest."""

    requirements: tuple[str, ...]
    verifier: Verifier
    pure: bool
    seed: int
    name: str
    task_limits: TaskLimits
    isolation: Isolation
    budget_microcredits: int | None
    price_cap_microcredits: int | None

    def budget(self, price_microcredits: int) -> int:
        """What the job may cost: as asked for, or 1,000 credits, and at least what four attempts at one task may cost."""
        if self.budget_microcredits is not None:
            return self.budget_microcredits
        copies = self.verifier.copies if isinstance(self.verifier, Quorum) else 1
        cap = pricing.attempt_cap(price_microcredits, self.task_limits)
        return max(DEFAULT_BUDGET_MICROCREDITS, _ATTEMPTS_IN_BUDGET * copies * cap)


def read_options(given: JobOptions) -> Options:
    """Check the options. Raises TypeError for one that does not exist, BadInput and RequirementError for bad ones."""
    unknown = given.keys() - JobOptions.__annotations__.keys()
    if unknown:
        known = ", ".join(JobOptions.__annotations__)
        raise TypeError(f"there is no option {', '.join(map(repr, sorted(unknown)))}; the options are {known}")
    requirements = given.get("requirements")
    verifier = given.get("verify")
    if verifier is not None and not isinstance(verifier, Verifier):
        raise BadInput(f"verify={verifier!r} is not a verifier", hint="Use talkoot.trust() or talkoot.quorum(2).")
    return Options(
        requirements=tuple(_of_script() if requirements is None else parse_requirements(requirements)),
        verifier=Quorum() if verifier is None else verifier,
        pure=bool(given.get("pure", False)),
        seed=_whole(given.get("seed", 0), "seed", -_MAX_SEED, _MAX_SEED - 1),
        name=_name(given.get("name")),
        task_limits=_task_limits(given),
        isolation=_isolation(given.get("isolate", "job")),
        budget_microcredits=_money(given.get("budget"), "budget"),
        price_cap_microcredits=_money(given.get("price_cap"), "price_cap"),
    )


def _task_limits(given: JobOptions) -> TaskLimits:
    time_s = given.get("time_s", limits.DEFAULT_TASK_TIME_S)
    if isinstance(time_s, bool) or not isinstance(time_s, int | float) or not 0 < time_s <= limits.MAX_TASK_TIME_S:
        raise BadInput(f"time_s={time_s!r} is not a time a task may take: up to {limits.MAX_TASK_TIME_S:,.0f} seconds")
    return TaskLimits(
        memory_bytes=parse_size(given.get("memory", limits.DEFAULT_MEMORY_BYTES), "memory"),
        time_s=float(time_s),
        cpus=_whole(given.get("cpus", 1), "cpus", 1, 1024),
        scratch_bytes=parse_size(given.get("scratch", limits.DEFAULT_SCRATCH_BYTES), "scratch"),
    )


def _name(name: str | None) -> str:
    if name is None:
        return ""
    if not isinstance(name, str) or not name.isprintable() or not 1 <= len(name) <= limits.MAX_NAME_CHARS:
        raise BadInput(f"name={name!r} cannot be the name of a job: 1 to {limits.MAX_NAME_CHARS} printable characters")
    return name


def _isolation(isolation: str) -> Isolation:
    try:
        return Isolation(isolation)
    except ValueError:
        raise BadInput(f"isolate={isolation!r} is neither 'job' nor 'task'") from None


def _whole(value: int, name: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadInput(f"{name}={value!r} is not a whole number from {least} to {most}")
    return value


def _money(credits_: float | None, name: str) -> int | None:
    if credits_ is None:
        return None
    if isinstance(credits_, bool) or not isinstance(credits_, int | float) or not 0 <= credits_ < 1e12:
        raise BadInput(f"{name}={credits_!r} is not a number of credits")
    return math.ceil(round(credits_ * pricing.CREDIT, 3))


def _of_script() -> list[str]:
    """The requirements in the block of the script that is run. Raises RequirementError for a malformed block."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return []
    try:
        with open(file, encoding="utf-8") as stream:
            source = stream.read()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise RequirementError(
            f"the script {file} cannot be read for its requirements: {error}", hint="Give them: requirements=[...]."
        ) from None
    return script_requirements(source)
