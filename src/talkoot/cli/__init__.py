"""The verbs of `talkoot`, one small file each; the only room that puts the others together."""
