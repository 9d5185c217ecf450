"""For tests, of Talkoot and of what is built on it: a virtual clock, an in-process hub, scripted nodes.

Shipped with Talkoot. Nothing in the other rooms imports it.
"""

from talkoot.testing.clock import VirtualClock
from talkoot.testing.network import InProcessHub, Submitter
from talkoot.testing.nodes import ScriptedNode, drain

__all__ = ["InProcessHub", "ScriptedNode", "Submitter", "VirtualClock", "drain"]
