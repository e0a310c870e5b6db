"""launchdarkly-eventsource, used as LaunchDarkly's own SDK uses it: every fault is continued after,
except a status that cannot be recovered from."""

import sys

import urllib3
from ld_eventsource import SSEClient
from ld_eventsource.actions import Event, Fault
from ld_eventsource.config import ConnectStrategy, ErrorStrategy, RetryDelayStrategy
from ld_eventsource.errors import HTTPContentTypeError, HTTPStatusError

client = SSEClient(
    connect=ConnectStrategy.http(
        sys.argv[1],
        urllib3_request_options={"timeout": urllib3.Timeout(connect=1, read=1)},
    ),
    initial_retry_delay=0.2,
    retry_delay_strategy=RetryDelayStrategy.default(max_delay=1),
    retry_delay_reset_threshold=0.5,
    error_strategy=ErrorStrategy.always_continue(),
)
for action in client.all:
    if isinstance(action, Event):
        if action.event == "end":
            sys.exit(0)
        if action.event == "message":
            print(action.last_event_id, flush=True)
    elif isinstance(action, Fault):
        error = action.error
        if isinstance(error, HTTPContentTypeError):
            sys.exit(str(error))
        if isinstance(error, HTTPStatusError):
            status = error.status
            if status == 204 or (400 <= status < 500 and status not in (400, 408, 429)):
                sys.exit(str(error))
sys.exit(1)
