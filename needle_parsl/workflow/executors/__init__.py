"""Parsl, configured from a site: its executors, its jobs, and what runs on their nodes."""

from needle_parsl.workflow.executors.machine import Machine, Say, started

__all__ = ["Machine", "Say", "started"]
