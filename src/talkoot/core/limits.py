"""Every limit of Talkoot has a name, and the name is here.

A limit is checked where data crosses a border, before the data is parsed or stored. Beyond it there is a
`TooLarge` (or a more specific error) that names the limit and the value, and nothing is lost or half-done.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# Values.
MAX_VALUE_DEPTH: Final = 100
"""Nesting of a value in the codec; also what stops a value that contains itself."""
MAX_ARGUMENTS_BYTES: Final = 1 * MIB
"""The encoded arguments of one task."""
MAX_ANSWER_BYTES: Final = 1 * MIB
"""The encoded answer of one task."""
MAX_NOTE_BYTES: Final = 64 * KIB
"""What a task printed, and the text of its traceback, as kept beside its answer."""
MAX_PROGRAM_BYTES: Final = 8 * MIB
"""The carrier of one program."""

# Environments.
MAX_REQUIREMENTS: Final = 64
MAX_REQUIREMENT_CHARS: Final = 500
MAX_MARKER_CHARS: Final = 2_000
MAX_MARKER_DEPTH: Final = 8
"""Parentheses within parentheses in an environment marker."""
MAX_SCRIPT_BLOCK_BYTES: Final = 64 * KIB
"""The `# /// script` block of a script (PEP 723)."""
MAX_LOCK_PACKAGES: Final = 256
MAX_LOCK_BYTES: Final = 1 * MIB
MAX_ENVIRONMENT_BYTES: Final = 8 * GIB
MAX_ENVIRONMENT_FILES: Final = 200_000
MAX_RECORD_BYTES: Final = 64 * MIB
"""The list of its files that one wheel brings."""
ENVIRONMENT_BUILD_TIMEOUT_S: Final = 600
ENVIRONMENT_RESOLVE_TIMEOUT_S: Final = 180
ENVIRONMENT_COMPILE_MEMORY_BYTES: Final = 4 * GIB
"""Address space of one process that compiles an environment's bytecode."""
MIN_FREE_DISK_BYTES: Final = 256 * MIB
"""An environment is not built, or not further, when less than this would be free."""
MAX_INSTALLER_REASON_CHARS: Final = 1_500
"""What is kept of the installer's own words in an error."""

# Requests.
MAX_REQUEST_BYTES: Final = 32 * MIB
MAX_TASKS_PER_SUBMISSION: Final = 20_000
MAX_TASKS_PER_JOB: Final = 2_000_000
MAX_INPUTS_PER_TASK: Final = 64
"""Other tasks whose answers one task may wait for."""
MAX_INPUT_BYTES_PER_TASK: Final = 32 * MIB
"""The answers that one task takes, together; beyond it the task fails."""
MAX_RECEIPTS_PER_EXCHANGE: Final = 512
MAX_ATTEMPTS_PER_LEASE: Final = 256
MAX_ATTEMPTS_PER_EXCHANGE: Final = 512
MAX_ATTEMPTS_PER_NODE: Final = 16_384
"""Attempts that one node may hold, however many slots it says it has."""
MAX_LEASE_BYTES_PER_EXCHANGE: Final = 16 * MIB
"""Arguments and inputs of the attempts in one reply; one attempt goes out even when it alone has more."""
MAX_LEASES_NAMED: Final = 65_536
"""Leases that a node names in one exchange, as known to it."""
MAX_JOBS_NAMED: Final = 1_024
"""Jobs that a node names in one exchange, as known to it."""
MAX_CHANNELS: Final = 2
"""Exchanges that one node may have out at a time."""
MAX_RECEIPT_BYTES: Final = 72 * KIB
MAX_MANIFEST_BYTES: Final = 64 * KIB
MAX_LIVE_JOBS_PER_MEMBER: Final = 1_000
MAX_ANSWERS_PER_READ: Final = 2_000
MAX_ANSWER_BYTES_PER_READ: Final = 16 * MIB
MAX_BLOBS_PER_REQUEST: Final = 64
MAX_PARKED_REQUESTS: Final = 10_000
MAX_PAGE_ROWS: Final = 500
MAX_NAME_CHARS: Final = 120
MAX_TICKET_CHARS: Final = 2_000
MAX_CHECKPOINT_CHARS: Final = 16 * KIB
"""A signed note with its witnesses; C2SP asks that at least 16 signatures be accepted."""
MAX_RESIGNED_REQUESTS: Final = 2
"""How often a client signs one request again because the hub's epoch had passed."""
MAX_WRITE_QUEUE: Final = 4_096
"""Commands that wait for the hub's writer; the next one is answered `busy`."""
GROUP_COMMIT_COMMANDS: Final = 128
MAX_WAITING_READS: Final = 4_096
"""Questions that wait for a reader of the hub's database; the next one is answered `busy`."""
MAX_JOURNAL_BYTES: Final = 64 * MIB
"""Beyond it the hub folds its database's write-ahead log in: with a long one, every later command is slower."""
MAX_BODY_BYTES_IN_FLIGHT: Final = 256 * MIB
"""Bodies of requests that the hub holds in memory at one time; the next one is answered `busy`."""
LARGE_BODY_BYTES: Final = 256 * KIB
"""A larger body is verified and parsed in a thread, and its request is never kept waiting."""
MAX_BODY_READ_S: Final = 60.0
"""How long the body of a request may take to arrive."""
MAX_LONG_POLL_S: Final = 25.0
MAX_NONCES_PER_EPOCH: Final = 500_000
REQUEST_EPOCH_S: Final = 300.0
"""A request must name the hub's present or previous epoch; its nonce is remembered that long."""

# Tasks.
MAX_EXECUTIONS_PER_TASK: Final = 12
"""Attempts, of any purpose, before a task is given up as failed; two more for each copy that its quorum asks for.

What was handed back or cancelled does not count, and what was lost counts once for each owner."""
MAX_DEVICE_SLOTS: Final = 4_096
MAX_DEVICE_GPUS: Final = 64
MAX_FAILED_EXECUTIONS_PER_TASK: Final = 3
"""Attempts that ended without an answer through the task's own doing (killed by a limit, crashed)."""
DEFAULT_MEMORY_BYTES: Final = 768 * MIB
"""With the scratch below it, which most sandboxes keep in memory, 1 GiB a task."""
DEFAULT_SCRATCH_BYTES: Final = 256 * MIB
DEFAULT_SCRATCH_FILES: Final = 10_000
DEFAULT_PROCESSES: Final = 64
DEFAULT_TASK_TIME_S: Final = 600.0
MAX_PROCESSES: Final = 1_024
"""Processes and threads that one task may ask for; what it has of them is memory of the kernel, which no cap of ours counts."""
MAX_SCRATCH_FILES: Final = 200_000
"""Files in the scratch that one task may ask for; the same holds for them."""
MAX_TASK_TIME_S: Final = 7 * 24 * 3600.0

# Presence.
DEFAULT_SILENCE_S: Final = 30.0
"""A node not heard of for this long loses its leases."""
LEASE_TASK_TIMES: Final = 3
LEASE_GRACE_S: Final = 900.0
"""An attempt that is out for longer than its job's `time_s`, LEASE_TASK_TIMES times, and LEASE_GRACE_S (for building an
environment, and for what waits before it on the node) is lost, however often its node polls."""
OVERDUE_CHECK_S: Final = 10.0
"""How often the hub looks for such attempts."""
FREE_RETURNS: Final = 4
MAX_PAUSE_AFTER_RETURN_S: Final = 300.0
"""Who takes a task and lets it go again gets it at once so many times, and then after 1, 2, 4, ... seconds."""
DISPUTE_PATIENCE_S: Final = 300.0
"""How long the hub waits for somebody who is there to take what a disputed task needs, before it goes on without."""
DEFAULT_TICKET_LIFETIME_S: Final = 24 * 3600
POLITE_LEAVE_S: Final = 2.0

# Retries.
MIN_BACKOFF_S: Final = 0.05
MAX_BACKOFF_S: Final = 5.0
