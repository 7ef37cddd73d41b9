"""A rank that ends with an exception ends the job: the others would wait for it."""

import sys
import weakref


def end_together(communicator):
    """From here on, an exception that nobody catches ends the job of this communicator, once its traceback is printed. Not in an
    interactive interpreter, where it ends nothing."""
    if sys.flags.interactive or hasattr(sys, "ps1"):
        return
    if (communicators := getattr(sys.excepthook, "gyre_communicators", None)) is not None:
        communicators.add(communicator)
        return
    communicators, before = weakref.WeakSet([communicator]), sys.excepthook

    def hook(kind, value, trace):
        before(kind, value, trace)
        sys.stderr.flush()
        for communicator in communicators:
            communicator.abort(1, f"rank {communicator.rank} ends with {kind.__name__}: {value}".replace("\n", " "))

    hook.gyre_communicators = communicators
    sys.excepthook = hook
