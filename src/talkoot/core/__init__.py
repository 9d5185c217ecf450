"""The rules of Talkoot: ids, types, life cycles, codec, verifiers, matching, pricing.

Everything here is pure, typed and deterministic. Time and randomness are arguments. Nothing in this room
may read a file, open a socket, look at a clock or draw a random number.
"""
