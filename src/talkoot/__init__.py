"""Talkoot: an ordinary Python call, on devices you do not trust, with an answer you can."""
