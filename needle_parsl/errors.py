"""What needle raises on purpose. Each exception takes its message only, so that it survives the way back from a worker."""


class NeedleError(Exception):
    """A failure that needle foresaw; its message is written for the user."""


class InputError(NeedleError):
    """What the user wrote, or a file the user named, is wrong (exit code 2). One line per mistake."""


class TaskError(NeedleError):
    """A task could not do its work although its input is right (exit code 1)."""
