"""Every bound of the gateway, with its unit and its reason."""

from schemas import limits

BODY_BYTES_MAX = 4 * 1024 * 1024  # of a request; large texts of a call travel beside it, but come here whole
BODY_NODES_MAX = limits.PARAMETERS_NODES_MAX + 64
BODY_DEPTH_MAX = limits.PARAMETERS_DEPTH_MAX + 2
LOGIN_BYTES_MAX = 32 * 1024  # of the body of a login: twice the largest token
READING_SECONDS = 5.0  # for the body of a login, which anybody may send
READING_MAX = 64  # such bodies that are still coming; one more ends the one that has come longest
TOKEN_CHARS_MAX = 16 * 1024

REQUESTS_MAX = 512  # answered at a time
LOGINS_WAITING_MAX = 64  # so that logins leave room for other requests

# Of one principal, over all its sessions here:
SESSIONS_OF_ONE_MAX = 16  # one more ends the one that has rested longest
REQUESTS_OF_ONE_MAX = 64  # at a time
QUESTIONS_OF_ONE_MAX = 8  # approvals and lists of tools that are asked for at a time
CALLS_OF_ONE_MAX = 32  # without their end, those that wait for people among them
STREAMS_OF_ONE_MAX = 8
BODY_BYTES_OF_ONE_MAX = 32 * 1024 * 1024  # under way; one of unstated length counts as the largest until it is there

SESSIONS_MAX = 4096
STREAMS_MAX = 64  # one thread each
QUESTION_THREADS = 64
CALL_THREADS = 64  # for the moments of a call that wait for a broker or a disk

IDLE_SECONDS = 1800.0  # without a request and without a call under way a session ends
SWEEP_SECONDS = 5.0

WAIT_SECONDS = (
    30.0  # for the end of a call, if the request does not say; a call that was not decided by then never runs
)
WAIT_SECONDS_MIN = 1.0  # less is hardly enough for the brokers
WAIT_SECONDS_MAX = 60.0
FOLLOW_SECONDS = limits.TOOL_TIMEOUT_MS_MAX / 1000 + 100  # for which the end of a call is listened for
STREAM_SECONDS = 100.0  # between two items
KEEP_ALIVE_SECONDS = 15.0  # between two lines of a stream, so that proxies keep it open
ENDED_CALLS_MAX = 256  # of one session whose ends are kept; the oldest are forgotten first
ENDED_BYTES_MAX = 16 * 1024 * 1024  # of their answers
ENDED_BYTES_OF_ONE_MAX = 32 * 1024 * 1024  # of one principal; the sessions that hold more than their part forget first

TOOLS_PAGE = 256  # tools that one answer is about
REASON_CHARS_MAX = 1024
