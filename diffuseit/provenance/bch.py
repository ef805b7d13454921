"""The code that corrects errors in TrustMark's bits: BCH over GF(2^7), shortened, for 5 wrong bits of 99.

The 61 bits of data, padded by 3 zeros, are followed by 35 bits of the remainder by the generator polynomial. It is the
schema BCH_5 of https://github.com/adobe/trustmark, whose data layer counts the bits in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

DATA_BITS, CHECK_BITS, PADDING = 61, 35, 3
_CORRECTED = 5
_ORDER = 127
_FIELD = 0b10001001
"""x^7 + x^3 + 1."""

_POWERS = [1]
for _ in range(_ORDER - 1):
    _next = _POWERS[-1] << 1
    _POWERS.append(_next ^ _FIELD if _next > _ORDER else _next)
_LOGS = {value: power for power, value in enumerate(_POWERS)}


def encode(data: Sequence[int]) -> list[int]:
    """Return 61 bits followed by 35 that protect them."""
    word = int("".join(map(str, data)), 2) << (PADDING + CHECK_BITS)
    return [*data, *_bits(_remainder(word), CHECK_BITS)]


def decode(word: Sequence[int]) -> list[int] | None:
    """Return the 61 bits of data in 96 bits, of which at most 5 are wrong; None if more are."""
    received = [*word[:DATA_BITS], *[0] * PADDING, *word[DATA_BITS:]]
    places = [len(received) - 1 - place for place, bit in enumerate(received) if bit]
    syndromes = [_sum(_power(root * place) for place in places) for root in range(1, 2 * _CORRECTED + 1)]
    if any(syndromes):
        locator = _locator(syndromes)
        wrong = [place for place in range(len(received)) if not _evaluate(locator, -place)]
        if len(wrong) != len(locator) - 1:
            return None
        for place in wrong:
            received[len(received) - 1 - place] ^= 1
        if any(received[DATA_BITS : DATA_BITS + PADDING]):
            return None
    return received[:DATA_BITS]


def _locator(syndromes: list[int]) -> list[int]:
    """The polynomial whose roots are the places of wrong bits, by Berlekamp and Massey."""
    current, previous, length, gap, scale = [1], [1], 0, 1, 1
    for step, syndrome in enumerate(syndromes):
        found = syndrome ^ _sum(
            _product(current[term], syndromes[step - term])
            for term in range(1, min(length, len(current) - 1) + 1)
        )
        if not found:
            gap += 1
            continue
        factor = _product(found, _power(-_LOGS[scale]))
        before = current
        shifted = [0] * gap + [_product(factor, term) for term in previous]
        size = max(len(current), len(shifted))
        current = [
            left ^ right for left, right in zip(_padded(current, size), _padded(shifted, size), strict=True)
        ]
        if 2 * length <= step:
            length, previous, scale, gap = step + 1 - length, before, found, 1
        else:
            gap += 1
    while len(current) > 1 and not current[-1]:
        current.pop()
    return current


def _generator() -> int:
    """The product of the minimal polynomials of the first odd powers of the field's generator."""
    product = [1]
    roots = {root * 2**turn % _ORDER for root in range(1, 2 * _CORRECTED, 2) for turn in range(7)}
    for root in sorted(roots):
        shifted = [*product, 0]
        scaled = [0, *(_product(term, _power(root)) for term in product)]
        product = [left ^ right for left, right in zip(shifted, scaled, strict=True)]
    return int("".join(map(str, product)), 2)


def _remainder(word: int) -> int:
    while word.bit_length() > CHECK_BITS:
        word ^= GENERATOR << (word.bit_length() - CHECK_BITS - 1)
    return word


def _evaluate(polynomial: list[int], power: int) -> int:
    return _sum(_product(term, _power(power * number)) for number, term in enumerate(polynomial))


def _product(left: int, right: int) -> int:
    return _power(_LOGS[left] + _LOGS[right]) if left and right else 0


def _power(power: int) -> int:
    return _POWERS[power % _ORDER]


def _sum(terms: Iterable[int]) -> int:
    total = 0
    for term in terms:
        total ^= term
    return total


def _padded(polynomial: list[int], size: int) -> list[int]:
    return polynomial + [0] * (size - len(polynomial))


def _bits(value: int, count: int) -> list[int]:
    return [value >> place & 1 for place in reversed(range(count))]


GENERATOR = _generator()
