"""Which timesteps a run visits, which of them are guided, and which settings are refused."""

import pytest

from diffuseit.errors import InputError
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.methods import MPGD, DiffuseITDDIM

# (settings, timesteps, how many of them in a row are guided, from which visit on a solver takes the steps)
RUNS = [
    ({"steps": 10, "skip": 2, "resample": 3}, [7, 7, 7, 6, 5, 4, 3, 2, 1, 0], range(10), None),
    ({"steps": 4, "skip": 3, "resample": 3}, [0, 0, 0], range(3), None),
    (
        {"steps": 12, "skip": 2, "resample": 3, "guide_from": 0.1, "guide_until": 0.6},
        [9, 9, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
        range(3, 8),
        None,
    ),
    # A method without noise gains nothing from visiting a level again.
    ({"steps": 8, "skip": 2, "resample": 5, "method": DiffuseITDDIM()}, [5, 4, 3, 2, 1, 0], range(6), None),
    (
        {"steps": 6, "skip": 1, "resample": 1, "guide_until": 0.4, "solver": "dpm++2m"},
        [4, 3, 2, 1, 0],
        range(2),
        2,
    ),
    (
        {"steps": 10, "skip": 0, "resample": 3, "solver": "ddim", "guide_until": 0.5, "tail_steps": 2},
        [9, 9, 9, 8, 7, 6, 5, 4, 0],
        range(7),
        7,
    ),
    (
        {
            "steps": 24,
            "skip": 12,
            "resample": 1,
            "method": MPGD(),
            "guide_until": 0.25,
            "solver": "unipc",
            "tail_steps": 4,
        },
        [11, 10, 9, 8, 5, 3, 0],
        range(3),
        3,
    ),
    # A tail of more steps than there are levels visits each; a run guided to its end has no tail.
    (
        {"steps": 10, "skip": 2, "resample": 2, "guide_until": 0.8, "solver": "ddim", "tail_steps": 50},
        [7, 7, 6, 5, 4, 3, 2, 1, 0],
        range(7),
        7,
    ),
    (
        {"steps": 10, "skip": 2, "resample": 3, "solver": "ddim", "tail_steps": 2},
        [7, 7, 7, 6, 5, 4, 3, 2, 1, 0],
        range(10),
        None,
    ),
    # A solver from the start visits each level once.
    (
        {"steps": 10, "skip": 2, "resample": 4, "guide_until": 0.0, "solver": "unipc", "tail_steps": 3},
        [7, 4, 0],
        range(0),
        0,
    ),
    (
        {"steps": 10, "skip": 2, "resample": 4, "guide_until": 0.0, "solver": "unipc", "tail_steps": 1},
        [7],
        range(0),
        0,
    ),
]


@pytest.mark.parametrize(("settings", "timesteps", "guided", "solved_from"), RUNS)
def test_visits_follow_the_settings(settings, timesteps, guided, solved_from):
    visits = SamplerSettings(**settings).timetable
    assert [visit.t for visit in visits] == timesteps
    assert [number for number, visit in enumerate(visits) if visit.guided] == list(guided)
    solved = len(visits) if solved_from is None else solved_from
    assert [visit.solved for visit in visits] == [number >= solved for number in range(len(visits))]
    # A visit leads to the next timestep that is another; before that one the run comes back to its own.
    following = [*timesteps[1:], -1]
    assert [visit.again for visit in visits] == [
        t == later for t, later in zip(timesteps, following, strict=True)
    ]
    for number, visit in enumerate(visits):
        assert visit.t_next == next((t for t in timesteps[number:] if t < visit.t), -1)


def test_levels_and_progress_count_from_the_noisiest():
    visits = SamplerSettings(steps=12, skip=7, resample=2).timetable
    assert [visit.level for visit in visits] == [0, 0, 1, 2, 3, 4]
    assert {visit.levels for visit in visits} == {5}
    assert [visit.progress for visit in visits] == [0.0, 0.0, 0.25, 0.5, 0.75, 1.0]
    (only,) = SamplerSettings(steps=3, skip=2, resample=1).timetable
    assert only.progress == 1.0


@pytest.mark.parametrize(
    ("settings", "backward"),
    [
        ({}, range(6)),
        ({"backward_until": 0.5}, range(3)),
        ({"backward_until": 0.0}, range(0)),
        ({"method": MPGD()}, range(0)),
    ],
)
def test_gradients_go_back_through_the_network_as_long_as_they_should(settings, backward):
    visits = SamplerSettings(**({"steps": 9, "skip": 4, "resample": 2} | settings)).timetable
    assert [number for number, visit in enumerate(visits) if visit.backward] == list(backward)


@pytest.mark.parametrize(
    ("settings", "ever"),
    [
        ({}, True),
        ({"backward_until": 0.0}, False),
        ({"guide_until": 0.0}, False),
        ({"guide_from": 0.6, "backward_until": 0.5}, False),
        ({"method": MPGD()}, False),
    ],
)
def test_a_run_says_whether_it_needs_the_networks_graph(settings, ever):
    assert SamplerSettings(steps=10, skip=2, **settings).ever_backward == ever


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"skip": 100}, "skip is 100 of 100"),
        ({"skip": -1}, "skip"),
        ({"steps": 0}, "steps"),
        ({"resample": 0}, "resample"),
        ({"method": "x"}, "method"),
        ({"view": "x"}, "view"),
        ({"guide_from": -0.1}, "guide_from"),
        ({"guide_until": 1.1}, "guide_until"),
        ({"backward_until": float("nan")}, "backward_until"),
        ({"start_color": 1.5}, "start_color"),
        ({"max_restarts": -1}, "max_restarts"),
        ({"restart_above": float("nan")}, "restart_above"),
        ({"balance": "clever"}, "one of fixed, adaptive"),
        ({"solver": "euler"}, "solver"),
        ({"tail_steps": 3}, "tail_steps"),
        ({"solver": "unipc", "tail_steps": 0}, "tail_steps"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        SamplerSettings(**settings)
