"""From a live function to the bytes whose hash is its id: what the walk saw, and nothing else.

The walk reads live objects and the source of local modules. It never imports, never calls the function, and
never sends what it did not see: what cannot be walked is refused, with the path to it.
"""

from talkoot.sdk.program._program import Program, walk
from talkoot.sdk.program._source_map import Place, SourceMap

__all__ = ["Place", "Program", "SourceMap", "walk"]
