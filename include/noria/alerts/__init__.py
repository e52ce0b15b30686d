"""Mails about what happens: what they say, how they look, and the outbox that folds, keeps and sends them.

How a mail reaches a server belongs to whoever sends; what a run's records mean belongs to the stages.
"""

from noria.alerts.alert import Alert, Kind, Links, same
from noria.alerts.message import to_message
from noria.alerts.outbox import deliver, over, post

__all__ = ["Alert", "Kind", "Links", "deliver", "over", "post", "same", "to_message"]
