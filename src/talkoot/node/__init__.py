"""The agent on a lent device: what it offers, what its owner allows, and how strangers' code is held.

The process that holds keys never unpickles and never runs a stranger's code; only a cell of the sandbox does.
"""
