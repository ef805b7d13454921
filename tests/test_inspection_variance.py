"""Shares, retrieval, and the score of separation, on features whose answer is known."""

from itertools import product

import pytest
import torch

from diffuseit.inspection.gram import Gram, Place, gram_matrix
from diffuseit.inspection.retrieval import content_retrieval, style_retrieval
from diffuseit.inspection.separation import score_of
from diffuseit.inspection.variance import bootstrap_shares, chance_shares, resamples, variance_shares

KEY, CLS = Place(0, "key"), Place(0, "cls")


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gram_of(features):
    """The Gram matrix of features [contents, styles, D]."""
    return gram_matrix([features.flatten(0, 1)], *features.shape[:2])


def plain_shares(features):
    """Shares by the textbook, cell by cell, without and with the correction."""
    contents, styles, _ = features.shape
    mean = features.mean(dim=(0, 1))
    of_content, of_style = features.mean(dim=1), features.mean(dim=0)
    total = content = style = rest = 0.0
    for g, s in product(range(contents), range(styles)):
        total += float((features[g, s] - mean).square().sum())
        content += float((of_content[g] - mean).square().sum())
        style += float((of_style[s] - mean).square().sum())
        rest += float((features[g, s] - of_content[g] - of_style[s] + mean).square().sum())
    noise = rest / ((contents - 1) * (styles - 1))
    corrected = (content - (contents - 1) * noise) / total, (style - (styles - 1) * noise) / total
    return (content / total, style / total, rest / total), (*corrected, 1 - sum(corrected))


def test_shares_equal_those_of_the_textbook_however_the_features_are_parted():
    features = random(7, 4, 30) + 2 * random(7, 1, 30, seed=1) + random(1, 4, 30, seed=2)
    plain, corrected = plain_shares(features)
    gram = gram_matrix(features.flatten(0, 1).split(11, dim=1), 7, 4)
    for expected, found in (
        (plain, variance_shares(gram, corrected=False)),
        (corrected, variance_shares(gram)),
    ):
        assert [float(found.content), float(found.style), float(found.rest)] == pytest.approx(expected)


def test_known_shares_are_found():
    """Content, style, and noise with variances of 5, 3, and 2 in many independent features."""
    features = 5**0.5 * random(20, 1, 20_000) + 3**0.5 * random(1, 6, 20_000, seed=1)
    found = variance_shares(gram_of(features + 2**0.5 * random(20, 6, 20_000, seed=2)))
    # What a sample of 20 contents and 6 styles has: the sums of squares are n - 1 times the variances.
    total = 6 * 19 * 5 + 20 * 5 * 3 + 119 * 2
    assert float(found.content) == pytest.approx(6 * 19 * 5 / total, abs=0.01)
    assert float(found.style) == pytest.approx(20 * 5 * 3 / total, abs=0.01)


def test_labels_that_mean_nothing_have_no_shares_on_average():
    grams = [gram_of(random(5, 3, 4, seed=seed)) for seed in range(400)]
    for corrected, expected in ((True, (0, 0)), (False, chance_shares(5, 3))):
        found = [variance_shares(gram, corrected=corrected) for gram in grams]
        means = [sum(float(getattr(one, part)) for one in found) / 400 for part in ("content", "style")]
        assert means == pytest.approx(expected, abs=0.02)


def test_bootstrap_samples_are_those_of_the_drawn_contents_put_right_on_average():
    features = random(6, 3, 9) + random(6, 1, 9, seed=1)
    gram, weights = gram_of(features), resamples(6, 4000, torch.Generator().manual_seed(0))
    assert (weights.sum(dim=1) == 6).all()
    # Sums of squares by hand for one sample, before and after what repetitions take away.
    drawn = torch.repeat_interleave(torch.arange(6), weights[0].long())
    (content, style, rest), _ = plain_shares(features[drawn])
    content, style, rest = content * 6 / 5, style - rest / 5, rest * 6 / 5
    noise = rest / 10
    found = bootstrap_shares(gram, weights[:1])
    assert float(found.content) == pytest.approx((content - 5 * noise) / (content + style + rest))
    assert float(found.style) == pytest.approx((style - 2 * noise) / (content + style + rest))
    means = bootstrap_shares(gram, weights)
    assert float(means.content.mean()) == pytest.approx(float(variance_shares(gram).content), abs=0.03)


def test_neighbors_are_found_by_brute_force():
    features = random(6, 4, 8) + random(6, 1, 8, seed=1)
    contents = styles = 0
    for g, s in product(range(6), range(4)):
        for t in set(range(4)) - {s}:
            contents += int((features[:, t] - features[g, s]).norm(dim=-1).argmin() == g)
        for h in set(range(6)) - {g}:
            styles += int((features[h] - features[g, s]).norm(dim=-1).argmin() == s)
    gram = gram_of(features)
    assert content_retrieval(gram) == pytest.approx(contents / (6 * 4 * 3))
    assert style_retrieval(gram) == pytest.approx(styles / (6 * 4 * 5))


def score(keys: Gram, cls: Gram):
    generator = torch.Generator().manual_seed(0)
    return score_of(
        {KEY: keys, CLS: cls}, KEY, CLS, resamples(keys.contents, 300, generator), generator, shuffles=199
    )


def test_facets_that_separate_score_1_and_shuffled_labels_0():
    found = score(
        gram_of(random(10, 1, 50).expand(-1, 4, -1)), gram_of(random(1, 4, 50, seed=1).expand(10, -1, -1))
    )
    assert found.value == pytest.approx(1) and found.interval == pytest.approx((1, 1))
    assert found.shuffled < 0.01 and found.p == pytest.approx(1 / 200)


def test_features_that_mean_nothing_score_0():
    found = score(gram_of(random(10, 4, 50)), gram_of(random(10, 4, 50, seed=1)))
    assert found.value < 0.01 and found.interval[1] < 0.01 and found.shuffled < 0.01 and found.p > 0.01


def test_the_interval_holds_the_score_of_the_world_that_the_contents_come_from():
    """Contents drawn anew, each with a strength of its own, score inside the interval about as often as it says."""

    def world(seed, contents=24):
        strength = 0.5 + random(contents, 1, 1, seed=seed).abs()
        return gram_of(
            strength * random(contents, 1, 40, seed=seed + 1) + random(contents, 4, 40, seed=seed + 2)
        )

    truth = torch.stack([variance_shares(world(1000 * n, 400)).content for n in range(1, 6)]).mean()
    held = 0
    for number in range(40):
        drawn = bootstrap_shares(
            world(7 * number + 100), resamples(24, 400, torch.Generator().manual_seed(number))
        ).content
        low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975], dtype=torch.float64))
        held += int(low <= truth <= high)
    assert held >= 33


def test_features_that_do_not_vary_have_no_share_and_chance_retrieval():
    same = torch.full((5, 3, 7), 0.1) + 1e-8 * random(5, 3, 7).float()
    gram = gram_of(same)
    assert gram.constant
    found = variance_shares(gram)
    assert [float(found.content), float(found.style), float(found.rest)] == [0, 0, 0]
    assert content_retrieval(gram) == pytest.approx(1 / 5)
    assert style_retrieval(gram) == pytest.approx(1 / 3)
    assert score(gram, gram).value == 0
    assert score(gram_of(random(5, 1, 9).expand(-1, 3, -1)), gram).interval == (0, 0)
