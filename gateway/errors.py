"""What can go wrong in the gateway. Each message says what to do about it."""

from collections.abc import Sequence


class GatewayError(Exception):
    """Base of every error that the gateway raises on purpose; its text is meant for an operator."""


class AppImportError(GatewayError):
    """An import string does not lead to an application."""


class SettingsError(GatewayError):
    """The settings cannot be used as they are."""


class RouteConflictError(GatewayError):
    """One side would silently take paths from the other; `conflicts` has one sentence for each."""

    def __init__(self, conflicts: Sequence[str]) -> None:
        self.conflicts = tuple(conflicts)
        super().__init__("\n".join(conflicts))


class MoveRefusedError(GatewayError):
    """A requested move is not possible: an unknown endpoint, a bad percentage, a stage the endpoint cannot have."""


class StoreError(GatewayError):
    """Base of what a plan store raises."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached or read now; the same call may succeed later."""


class PlanConflictError(StoreError):
    """The plan has changed since the version that the caller based its change on; nothing was written."""
