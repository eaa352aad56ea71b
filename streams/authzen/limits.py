"""Every bound of the decision endpoint, with its unit and its reason."""

from schemas import limits

# A question is about a call, so it may be as large as the event of a call.
BODY_BYTES_MAX = limits.EVENT_BYTES_MAX
BODY_DEPTH_MAX = limits.PARAMETERS_DEPTH_MAX + 4  # levels around properties: body, evaluations, evaluation, resource
BODY_NODES_MAX = 32_768
EVALUATIONS_MAX = 64  # of one request; each may cost as much as the decision of a call

ACTION_CHARS_MAX = limits.NAME_CHARS_MAX


REFRESH_SECONDS = 5.0
# Longer than a read that has to wait for a broker. An older answer could follow a policy that was withdrawn meanwhile.
STALE_SECONDS = 60.0
