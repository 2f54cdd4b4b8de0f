"""What Ray says when a call did not end by itself, in the words of an attempt's failure.

All of it is worth another attempt but what the cluster's installation makes impossible.
"""

from __future__ import annotations

from tidemill.executors.remote.outcomes import ClusterFailure

__all__ = ["explain"]

#: Exceptions of `ray.exceptions` by name (they come and go with its versions): kind and what happened.
_KNOWN = {
    "WorkerCrashedError": ("WorkerLost", "the worker's process died while the task ran"),
    "ActorDiedError": ("WorkerLost", "the worker's process died while the task ran"),
    "ActorUnavailableError": ("WorkerLost", "the worker cannot be reached"),
    "NodeDiedError": ("NodeLost", "the worker's machine went away"),
    "LocalRayletDiedError": ("NodeLost", "Ray on this machine went away"),
    "OwnerDiedError": ("NodeLost", "the connection to the cluster went away"),
    "ObjectLostError": ("ReplyLost", "the task's answer was lost with its machine"),
    "ObjectFetchTimedOutError": ("ReplyLost", "the task's answer could not be fetched"),
    "OutOfMemoryError": ("WorkerOutOfMemory", "the worker was killed because its machine had no memory left"),
    "OutOfDiskError": ("WorkerOutOfDisk", "the worker's machine has no disk space left"),
    "ObjectStoreFullError": ("WorkerOutOfMemory", "the cluster's object store is full"),
    "RuntimeEnvSetupError": ("EnvironmentFailed", "the task's environment could not be made"),
    "TaskUnschedulableError": ("Unschedulable", "the cluster refuses the request"),
    "ActorUnschedulableError": ("Unschedulable", "the cluster refuses the request"),
    "TaskCancelledError": ("WorkerLost", "somebody cancelled the call in the cluster"),
    "RaySystemError": ("ClusterFailed", "Ray failed"),
    "RpcError": ("ClusterUnreachable", "Ray does not answer"),
}
_SHOWN = 1500


def explain(error: BaseException) -> ClusterFailure:
    """The failure that an exception of a call stands for."""
    if isinstance(error, ClusterFailure):
        return error
    text = " ".join(str(error).split())[:_SHOWN]
    if "No module named 'tidemill" in text:
        message = "the worker has no Tidemill; install the same version in the cluster's environment"
        return ClusterFailure("WorkerUnprepared", message, permanent=True)
    for kind in type(error).__mro__:  # a RayTaskError is also the class of its cause
        if kind.__name__ in _KNOWN:
            name, what = _KNOWN[kind.__name__]
            return ClusterFailure(name, f"{what} ({type(error).__name__}: {text})")
    return ClusterFailure("ClusterFailed", f"{type(error).__name__}: {text}")
