"""Why a message is put into a queue, in the words that policy and Delayed records see (KumoMTA's).

Public: one constant per reason.
"""

from __future__ import annotations

from typing import Final

RECEIVED: Final = "Received"
ENUMERATED: Final = "Enumerated"
SCHEDULED_FOR_LATER: Final = "ScheduledForLater"
MESSAGE_RATE_THROTTLE: Final = "MessageRateThrottle"
THROTTLED_BY_EVENT: Final = "ThrottledByThrottleInsertReadyQueue"
READY_QUEUE_WAS_FULL: Final = "ReadyQueueWasFull"
FAILED_TO_INSERT: Final = "FailedToInsertIntoReadyQueue"
DUE_TIME_WAS_REACHED: Final = "DueTimeWasReached"
MAX_READY_WAS_REDUCED: Final = "MaxReadyWasReducedByConfigUpdate"
TOO_MANY_CONNECTION_FAILURES: Final = "TooManyConnectionFailures"
CONNECTION_RATE_THROTTLE: Final = "ConnectionRateThrottle"
LOGGED_TRANSIENT_FAILURE: Final = "LoggedTransientFailure"
DISPATCHER_DROP: Final = "DispatcherDrop"
PROTOCOL_CHANGED: Final = "ProtocolChanged"
SPOOL_UNHEALTHY: Final = "SpoolUnhealthy"
#: Ours: the process before this one ended while policy handled the message.
PROCESS_ENDED: Final = "ProcessEndedInPolicy"
#: Ours: the account or rate that a channel sends through has to rest.
SOURCE_RESTS: Final = "SourceRests"
#: Ours: the attempt goes on over another route of its table.
NEXT_ROUTE: Final = "NextRoute"
#: Ours: a budget of the route is used up.
BUDGET_USED_UP: Final = "RouteBudgetUsedUp"
