"""What a researcher imports: connect, map, submit, futures, answers. It talks to a hub, and runs no stranger's code.

Nothing here decides about answers: the hub does, and the client shows what it decided, and why.
"""
