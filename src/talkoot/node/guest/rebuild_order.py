"""In which order the parts of a program are filled, so that code of the program runs as late as possible."""

from typing import Final, NamedTuple

from talkoot.core import carrier
from talkoot.core.carrier import Instance, Object, Value

_RECONSTRUCTORS: Final = (
    [carrier.NAME, "copyreg", "__newobj__"],
    [carrier.NAME, "copyreg", "__newobj_ex__"],
    [carrier.NAME, "copyreg", "_reconstructor"],
)
_OWN_MAKING: Final = frozenset({"__new__", "__setstate__", "__reduce__", "__reduce_ex__", "__setitem__", "append"})


class Step(NamedTuple):
    """Fill one part of one object."""

    number: int
    part: int


def steps(objects: list[Object]) -> list[Step]:
    """All parts to fill: those that need no instances first, and of one rank classes before globals."""
    ranks = _instance_ranks(objects)
    keyed: list[tuple[int, int, int, int]] = []
    for number, thing in enumerate(objects):
        for part, forms in enumerate(_parts(thing)):
            rank = max((ranks.get(n, 0) for form in forms for n in carrier.references(form)), default=0)
            keyed.append((rank, isinstance(thing, carrier.Namespace), number, part))
    return [Step(number, part) for _, _, number, part in sorted(keyed)]


def _parts(thing: Object) -> list[list[Value]]:
    match thing:
        case carrier.Namespace():
            return [[form] for _, form in thing.entries]
        case carrier.Cell():
            return [[form] for form in thing.content]
        case carrier.Function():
            named = thing.keyword_defaults + thing.annotations + thing.attributes
            return [[*thing.documentation, *thing.defaults, *thing.type_parameters, *(form for _, form in named)]]
        case carrier.Class():
            return [*([form] for _, form in thing.attributes), thing.registered]
        case carrier.EnumClass():
            return [*([form] for _, form in thing.attributes), [form for _, own in thing.extras for _, form in own]]
        case carrier.NamedTupleClass():
            return [[form] for _, form in thing.attributes]
    return []


def _instance_ranks(objects: list[Object]) -> dict[int, int]:
    """1 for an instance of the program's own class, 2 where making it runs the program's own code, 0 otherwise.

    An instance has at least the rank of what goes into it.
    """
    ranks = {n: _own_rank(objects, thing) for n, thing in enumerate(objects) if isinstance(thing, Instance)}
    holders: dict[int, list[int]] = {}
    for number in ranks:
        for inner in _content(objects[number]):
            holders.setdefault(inner, []).append(number)
    todo = sorted(ranks, key=lambda n: -ranks[n])
    while todo:
        inner = todo.pop(0)
        for holder in holders.get(inner, ()):
            if ranks[holder] < ranks[inner]:
                ranks[holder] = ranks[inner]
                todo.append(holder)
    return ranks


def _content(thing: Object) -> list[int]:
    if not isinstance(thing, Instance):
        return []
    forms = [thing.maker, *thing.arguments, *thing.state, *thing.items, *thing.setter]
    forms += [form for pair in thing.pairs for form in pair]
    return [n for form in forms for n in carrier.references(form)]


def _own_rank(objects: list[Object], thing: Instance) -> int:
    if thing.setter or not isinstance(thing.maker, list):
        return 2
    if thing.maker not in _RECONSTRUCTORS:
        return 0 if thing.maker[0] in (carrier.NAME, carrier.HELPER) else 2
    todo = list(carrier.references(thing.arguments[0])) if thing.arguments else []
    rank = 1 if todo else 0
    while todo:
        cls = objects[todo.pop()]
        if isinstance(cls, carrier.Class):
            if not _OWN_MAKING.isdisjoint(name for name, _ in cls.attributes):
                return 2
            todo += [n for base in cls.bases for n in carrier.references(base)]
    return rank
