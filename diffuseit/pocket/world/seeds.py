"""Who may see which seeds: training, the judge, tuning and the reported benchmark never share an image."""

_SPAN = 1 << 40

TRAINING = range(0, _SPAN)
JUDGE = range(_SPAN, 2 * _SPAN)
TUNING = range(2 * _SPAN, 3 * _SPAN)
HELD_OUT = range(3 * _SPAN, 4 * _SPAN)
