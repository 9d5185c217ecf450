"""What runs inside a cell: the warm worker, and the frames in which it speaks with the node.

These modules are copied into the node's store and start there with nothing but `talkoot.core`, msgspec and the
standard library beside them. They hold no keys and decide nothing: all that they say is checked by the node.
"""
