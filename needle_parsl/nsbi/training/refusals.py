"""What makes a faster engine give a member up."""

from __future__ import annotations


class NotPackedError(Exception):
    """A module wants something that only lightning.Trainer gives; the message says what."""


class RefusedModuleError(Exception):
    """lightning.Trainer would refuse what a module has configured; the message says why."""


class UnlikeError(Exception):
    """An engine that recognised a module has found in an epoch that it does something else; the message says when."""


class NotEmbeddedError(Exception):
    """The outputs of a frozen part cannot stand for the features; the message says why."""
