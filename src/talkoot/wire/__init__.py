"""What travels between hub, nodes and clients: the messages as types, their envelope, tickets, and the client side.

Nothing here decides anything. Sizes are checked before parsing, signatures before use.
"""
