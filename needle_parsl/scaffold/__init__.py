"""A new analysis: a copy of an app, or a commented `analysis.toml` written from what data files hold."""

from needle_parsl.scaffold.folder import apps, from_app, from_data

__all__ = ["apps", "from_app", "from_data"]
