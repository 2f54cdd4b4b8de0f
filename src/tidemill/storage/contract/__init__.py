"""The storage contract: what every database behind Tidemill must do, and the values that go in and out.

Rules that every implementation keeps (and the conformance suite checks):

1. One writer. Every `async` method that changes something returns after its transaction is on disk, or raises
   a `StorageError` and has changed nothing that the caller may rely on.
2. Jobs handed in while a commit is in flight go into the next commit together; jobs of one caller are committed
   in the order in which they were handed in.
3. Positions of the event log rise by one; a reader never sees n+1 before n.
4. Committed values are handed to followers in memory (`Tail`); whoever fell behind reads them from the database.
   The hand-over carries what was committed, nothing else.
5. Times are microseconds since the epoch, UTC.
"""

from __future__ import annotations

from tidemill.storage.contract.admission import AdmissionChanges, Admissions, HeldEvent, MemoryKey, Remembered
from tidemill.storage.contract.cache import CachedResult, CacheEntry, Reuse, TaskCache
from tidemill.storage.contract.deliveries import (
    Delivery,
    DeliveryAttempt,
    DeliveryMark,
    DeliveryState,
    Outbox,
)
from tidemill.storage.contract.durations import Durations, TaskDuration
from tidemill.storage.contract.letters import ActionKind, DeadLetter, DeadLetters, LetterAction, LetterState
from tidemill.storage.contract.log import (
    Append,
    Appended,
    CursorMove,
    EventFilter,
    EventLog,
    FileVersion,
    Ledger,
)
from tidemill.storage.contract.past import Became, Definitions, Keeping, Replays, RoutedUnder, Segment
from tidemill.storage.contract.routing import (
    Disposition,
    DispositionKind,
    NewRun,
    RouteBatch,
    Trees,
    TreeSummary,
)
from tidemill.storage.contract.runs import (
    KeptVersion,
    Recorded,
    Request,
    RunEnd,
    RunFilter,
    RunStore,
    RunSummary,
)
from tidemill.storage.contract.scheduling import PastOutcome, Pasts, Pools, PoolSetting
from tidemill.storage.contract.store import NodeView, Store
from tidemill.storage.contract.subscriptions import (
    DeliveryBacklog,
    MadeSubscription,
    Subscriptions,
    SubscriptionState,
    SubscriptionStatus,
)
from tidemill.storage.contract.wait_changes import Asked, Wait, WaitChanges
from tidemill.storage.contract.waits import (
    Approval,
    Approvals,
    ApprovalState,
    DueWait,
    HitWait,
    SaidDecision,
    UnreadWait,
    Waits,
)

__all__ = [
    "ActionKind",
    "AdmissionChanges",
    "Admissions",
    "Append",
    "Appended",
    "Approval",
    "ApprovalState",
    "Approvals",
    "Asked",
    "Became",
    "CacheEntry",
    "CachedResult",
    "CursorMove",
    "DeadLetter",
    "DeadLetters",
    "Definitions",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryBacklog",
    "DeliveryMark",
    "DeliveryState",
    "Disposition",
    "DispositionKind",
    "DueWait",
    "Durations",
    "EventFilter",
    "EventLog",
    "FileVersion",
    "HeldEvent",
    "HitWait",
    "Keeping",
    "KeptVersion",
    "Ledger",
    "LetterAction",
    "LetterState",
    "MadeSubscription",
    "MemoryKey",
    "NewRun",
    "NodeView",
    "Outbox",
    "PastOutcome",
    "Pasts",
    "PoolSetting",
    "Pools",
    "Recorded",
    "Remembered",
    "Replays",
    "Request",
    "Reuse",
    "RouteBatch",
    "RoutedUnder",
    "RunEnd",
    "RunFilter",
    "RunStore",
    "RunSummary",
    "SaidDecision",
    "Segment",
    "Store",
    "SubscriptionState",
    "SubscriptionStatus",
    "Subscriptions",
    "TaskCache",
    "TaskDuration",
    "TreeSummary",
    "Trees",
    "UnreadWait",
    "Wait",
    "WaitChanges",
    "Waits",
]
