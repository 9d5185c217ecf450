"""The sandbox of a node: strangers' code sees its inputs, its scratch space and a clock, and no more.

`Sandbox(store).open(spec)` gives a `Cell`, one warm worker behind the strongest fence that this device has. This
room never runs a stranger's code outside a cell, and never falls back to a weaker fence without saying so.
"""

from talkoot.node.sandbox.cell import Cell
from talkoot.node.sandbox.model import CellSpec, Run, RungReport
from talkoot.node.sandbox.sandbox import Sandbox

__all__ = ["Cell", "CellSpec", "Run", "RungReport", "Sandbox"]
