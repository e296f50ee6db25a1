import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import chi2, nct, t, ttest_1samp

from components.shared.comparisons import (
    Comparison,
    averaged,
    compare,
    patients_needed,
    sign_flip_p,
    training_noise,
)
from components.shared.faults import InputError
from components.shared.intervals import (
    CHANCE,
    FEWEST_FOR_CLAIM,
    UNSEEN_VARIANCE,
    Noise,
    difference_interval,
    mean_interval,
    naive_interval,
    welch,
)
from components.shared.spread import spread
from components.shared.verdicts import NOTHING_TO_GAIN, WORSE, headroom_figures, headroom_verdict, verdict

ONE_FOLD = np.zeros(20, dtype=int)  # of up to so many patients

accuracies = arrays.arrays(np.float64, st.integers(3, 12), elements=st.floats(0, 1))


@given(accuracies)
def test_an_interval_holds_its_mean_and_stays_on_the_scale(values_P):
    low, high = mean_interval(values_P)
    assert 0 <= low <= values_P.mean() <= high <= 1
    low, high = difference_interval(values_P - 0.5)
    assert -1 <= low <= values_P.mean() - 0.5 <= high <= 1


@given(accuracies)
def test_more_patients_of_the_same_kind_narrow_both_intervals(values_P):
    assume((values_P != CHANCE).any())  # who always says the same is at chance, whoever comes: no width
    thrice_P = np.tile(values_P, 3)
    assert np.diff(mean_interval(thrice_P)) < np.diff(mean_interval(values_P))
    assert np.diff(difference_interval(thrice_P)) < np.diff(difference_interval(values_P))


def test_data_sets_side_by_side_have_the_intervals_they_have_alone():
    values_SP = np.random.default_rng(0).random((4, 7))
    for interval in (mean_interval, difference_interval):
        assert interval(values_SP) == pytest.approx(np.array([interval(values_P) for values_P in values_SP]))


def test_with_many_patients_the_intervals_are_students():
    values_P = np.random.default_rng(0).beta(8, 4, 5000)
    expected = ttest_1samp(values_P, 0).confidence_interval()
    assert mean_interval(values_P) == pytest.approx(expected, abs=1e-3)
    assert difference_interval(values_P) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("patients", [3, 8])
def test_with_few_patients_a_differences_interval_is_students_and_a_little_wider(patients):
    differences_P = np.random.default_rng(patients).normal(0.05, 0.1, patients)
    spread = np.hypot(differences_P.std(ddof=1), UNSEEN_VARIANCE**0.5) / patients**0.5
    expected = differences_P.mean() + spread * np.array(t.interval(0.95, patients - 1))
    assert difference_interval(differences_P) == pytest.approx(expected)
    assert (expected[1] - expected[0]) > np.diff(ttest_1samp(differences_P, 0).confidence_interval())


def test_two_patients_have_no_interval():
    assert mean_interval(np.array([0.9, 1.0])) is None
    assert difference_interval(np.array([0.1, 0.0])) is None


def test_the_naive_interval_of_two_classes():
    # Two recalls of 0.9 over 100 planes each: standard error 0.03 / sqrt 2.
    assert naive_interval(np.array([90, 90]), np.array([100, 100])) == pytest.approx(
        [0.9 - 1.96 * 0.03 / 2**0.5, 0.9 + 1.96 * 0.03 / 2**0.5], abs=1e-5
    )


def test_eight_patients_who_all_gain_are_as_rare_as_two_in_256():
    gains_P = np.linspace(0.01, 0.08, 8)
    assert sign_flip_p(gains_P, seed=0) == pytest.approx(2 / 256)
    assert sign_flip_p(-gains_P, seed=0) == pytest.approx(2 / 256)
    assert sign_flip_p(np.zeros(8), seed=0) == 1


def test_drawn_flips_are_near_to_all_of_them_and_repeat():
    differences_P = np.random.default_rng(1).normal(0.3, 1, 12)
    every = sign_flip_p(differences_P, seed=0)
    drawn = sign_flip_p(differences_P, seed=0, flips=4000)
    assert drawn != every and drawn == pytest.approx(every, abs=0.03)
    assert drawn == sign_flip_p(differences_P, seed=0, flips=4000)


def test_seeds_are_not_patients():
    rng = np.random.default_rng(0)
    one_KP, other_KP = rng.random((3, 8)), rng.random((3, 8))
    folds_P = np.arange(8) % 4
    found = compare(one_KP, other_KP, folds_P, seed=0)
    once = compare(one_KP.mean(axis=0, keepdims=True), other_KP.mean(axis=0, keepdims=True), folds_P, seed=0)
    assert (found.difference, found.p_value) == (once.difference, once.p_value)
    assert (found.patients, found.repeats, once.repeats) == (8, 3, 1)
    assert found.interval[0] < once.interval[0] < once.interval[1] < found.interval[1]
    assert found.difference == pytest.approx(one_KP.mean() - other_KP.mean())
    mirrored = compare(other_KP, one_KP, folds_P, seed=0)
    assert mirrored.difference == pytest.approx(-found.difference)
    assert mirrored.interval == pytest.approx((-found.interval[1], -found.interval[0]))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match=r"\(2, 8\) repeats and patients against \(2, 1\)"):
        compare(np.ones((2, 8)), np.ones((2, 1)), np.arange(8), seed=0)
    with pytest.raises(InputError, match="a repeat lacks a patient"):
        averaged(np.array([[0.5, np.nan], [0.5, 0.5]]))


@pytest.mark.parametrize("patients", [1, 2, 3, 5])
def test_fewer_than_six_patients_have_no_p_value_and_make_no_claim(patients):
    other_KP = np.linspace(0.1, 0.2, patients)[None]
    found = compare(np.full((1, patients), 0.9), other_KP, np.zeros(patients, int), seed=0)
    assert found.p_value is None and not found.shown
    assert (found.interval is None) == (patients < 3)
    noun = "patient" if patients == 1 else "patients"
    assert verdict("synthetic data", found) == f"n = {patients} {noun}: no claim possible"
    assert headroom_verdict(found) == f"n = {patients} {noun}: no claim possible"


def comparison(difference, low, high, p_value, patients=8):
    interval = (low, high)
    return Comparison(
        difference=difference,
        other_low=0.8,
        interval=interval,
        p_value=p_value,
        patients=patients,
        repeats=3,
        gans=None,
    )


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            comparison(0.012, -0.004, 0.029, 0.2),
            "synthetic data helped: +1.2 pt [-0.4, 2.9], 8 patients: not shown",
        ),
        (
            comparison(0.031, 0.012, 0.05, 0.01, 15),
            "synthetic data helped: +3.1 pt [1.2, 5.0], 15 patients: shown",
        ),
        (
            comparison(-0.02, -0.035, -0.005, 0.02),
            "synthetic data hurt: -2.0 pt [-3.5, -0.5], 8 patients: shown",
        ),
        (
            comparison(-0.0001, -0.01, 0.01, 0.9),
            "synthetic data changed nothing: 0.0 pt [-1.0, 1.0], 8 patients: not shown",
        ),
        # The interval excludes 0 and the test does not, or the other way round: both must.
        (
            comparison(0.02, 0.001, 0.039, 0.07),
            "synthetic data helped: +2.0 pt [0.1, 3.9], 8 patients: not shown",
        ),
        (
            comparison(0.02, -0.001, 0.041, 0.04),
            "synthetic data helped: +2.0 pt [-0.1, 4.1], 8 patients: not shown",
        ),
    ],
)
def test_the_verdict_in_words(found, sentence):
    assert verdict("synthetic data", found) == sentence


@pytest.mark.parametrize(
    ("difference", "words"), [(0.02, "more than"), (-0.02, "less than"), (0.0, "as much as")]
)
def test_against_something_else_it_helped_more_or_less(difference, words):
    said = verdict("synthetic data", comparison(difference, -0.05, 0.05, 0.5), "the hidden real planes")
    assert said.startswith(f"synthetic data helped {words} the hidden real planes: ")


def test_the_verdict_on_the_headroom():
    assert headroom_verdict(comparison(0.01, -0.01, 0.03, 0.3)) == NOTHING_TO_GAIN
    assert headroom_verdict(comparison(-0.02, -0.03, -0.01, 0.01)) == WORSE
    assert headroom_verdict(comparison(0.05, 0.02, 0.08, 0.01)) is None


@pytest.mark.parametrize(("high", "told"), [(0.03, "3.0"), (0.8, "20.0")])
def test_no_more_is_to_gain_than_all_right(high, told):
    """Labelled only is right in 80 % at the least, whatever a wide interval of the difference allows."""
    said = headroom_figures(comparison(0.01, -0.6, high, 0.3))
    assert said.endswith(f"; up to {told} pt to gain are not excluded")


@pytest.mark.parametrize("worth", [0.01, 0.02, 0.2])
def test_the_patients_needed_have_power_by_the_noncentral_t(worth):
    differences_P = np.random.default_rng(0).normal(0, 0.04, 10)
    needed = patients_needed(differences_P, worth)

    def power(patients):
        shift = worth / (differences_P.var(ddof=1) + UNSEEN_VARIANCE) ** 0.5 * patients**0.5
        return nct.sf(t.ppf(0.975, patients - 1), patients - 1, shift)

    assert needed.interval[0] <= needed.patients <= needed.interval[1]
    assert power(needed.patients + 1) > 0.8
    assert needed.patients == FEWEST_FOR_CLAIM or power(needed.patients - 2) < 0.8


def test_patients_needed_where_nobody_can_tell():
    assert patients_needed(np.array([0.1, 0.2, 0.3, 0.1, 0.2]), 0.01) is None
    assert patients_needed(np.zeros(8), 0.01) is None
    with pytest.raises(InputError, match="worth=0"):
        patients_needed(np.arange(8.0), 0)


def test_the_spread_finds_the_variances_it_was_drawn_with():
    rng = np.random.default_rng(0)
    drawn = [
        spread(
            rng.normal(0, 0.05, (1, 12)) + rng.normal(0, 0.02, (4, 1)) + rng.normal(0, 0.01, (4, 12)),
            ONE_FOLD[:12],
        )
        for _ in range(400)
    ]
    for name, deviation in {"patients": 0.05, "repeats": 0.02, "rest": 0.01}.items():
        variance = np.mean([getattr(found, name) ** 2 for found in drawn])
        assert variance == pytest.approx(deviation**2, rel=0.1)


def test_a_table_without_noise_has_two_spreads_alone():
    found = spread(np.array([0.0, 2.0, 4.0]) + np.array([[0.0], [1.0]]), ONE_FOLD[:3])
    assert (found.patients, found.rest) == pytest.approx((2.0, 0.0))
    assert found.repeats == pytest.approx(0.5**0.5)
    assert spread(np.zeros((1, 5)), ONE_FOLD[:5]) is None
    assert spread(np.zeros((3, 4)), np.arange(4)) is None  # one patient a fold
    with pytest.raises(InputError, match="1 axes"):
        spread(np.zeros(4), ONE_FOLD[:4])


def test_with_one_seed_or_one_gan_nothing_is_called_shown():
    one_KP, other_KP = np.linspace(0.90, 0.94, 10)[None], np.linspace(0.80, 0.85, 10)[None]
    folds_P, again = np.arange(10) % 5, (one_KP.repeat(2, axis=0), other_KP.repeat(2, axis=0))
    once = compare(one_KP, other_KP, folds_P, seed=0)
    twice = compare(*again, folds_P, seed=0)
    of_one_gan, of_two = (compare(*again, folds_P, seed=0, gans_K=gans) for gans in ([0, 0], [0, 1]))
    assert once.differs and twice.differs and of_one_gan.differs
    assert verdict("synthetic data", twice).endswith("10 patients: shown")
    assert verdict("synthetic data", of_two).endswith("10 patients: shown")
    assert verdict("synthetic data", once).endswith("with one seed: training anew might change as much")
    assert verdict("synthetic data", of_one_gan).endswith("one GAN a fold: another one might change as much")


@pytest.mark.parametrize("folds", [1, 3, 5])
def test_every_folds_gans_are_told_from_the_trainings_on_their_images(folds):
    rng, gans, each = np.random.default_rng(0), [0, 1, 2, 0, 1, 2, 0], 6
    folds_P = np.repeat(np.arange(folds), each)

    def drawn():
        gan_KF, seed_KF = rng.normal(0, 0.04, (3, folds))[gans], rng.normal(0, 0.02, (7, folds))
        trained_KP = (gan_KF + seed_KF)[:, folds_P]
        patients_P = rng.normal(0, 0.05, len(folds_P))
        return spread(patients_P + trained_KP + rng.normal(0, 0.01, trained_KP.shape), folds_P, gans)

    found = [drawn() for _ in range(2000)]
    truth = {"patients": 0.05, "repeats": 0.02, "rest": 0.01, "gans": 0.04}
    for name, deviation in truth.items():  # negative estimates are told as 0, which lifts their mean
        variance = np.mean([getattr(each, name) ** 2 for each in found])
        assert variance == pytest.approx(deviation**2, rel=0.15), name


def test_one_gan_or_one_seed_a_gan_tells_nothing_of_gans():
    table_KP = np.random.default_rng(0).normal(size=(3, 8))
    for gans in ([], [0, 0, 0], [0, 1, 2]):
        assert spread(table_KP, ONE_FOLD[:8], gans) == spread(table_KP, ONE_FOLD[:8])
    assert spread(table_KP, ONE_FOLD[:8]).gans is None
    assert spread(table_KP, ONE_FOLD[:8], [0, 1, 0]).gans is not None


def studied(rng, patients, folds=5, repeats=3, effect=0.02, training=0.01):
    """Return differences K x P of a study whose folds' trainings scatter, and its folds."""
    folds_P = np.arange(patients) % folds
    trained_KP = rng.normal(0, training, (repeats, folds))[:, folds_P]
    return effect + rng.normal(0, 0.04, patients) + trained_KP, folds_P


def test_the_patients_needed_show_what_they_should_though_trainings_scatter():
    rng = np.random.default_rng(0)
    told = []
    for _ in range(50):
        differences_KP, folds_P = studied(rng, 30)
        noise = training_noise(differences_KP, folds_P)
        told.append(patients_needed(differences_KP.mean(axis=0), 0.02, noise).patients)
    patients = int(np.median(told))

    def shown():
        differences_KP, folds_P = studied(rng, patients)
        return compare(differences_KP, np.zeros_like(differences_KP), folds_P, 0).shown

    assert np.mean([shown() for _ in range(200)]) == pytest.approx(0.8, abs=0.1)


def test_where_trainings_scatter_too_much_no_number_of_patients_is_enough():
    differences_KP, folds_P = studied(np.random.default_rng(0), 20, folds=2, repeats=2, training=0.1)
    noise = training_noise(differences_KP, folds_P)
    found = patients_needed(differences_KP.mean(axis=0), 0.02, noise)
    assert found.patients is None and found.interval == (None, None)


def test_the_patients_needed_are_told_for_both_ends_of_what_the_spread_may_be():
    """The ends of the 95 % interval of eight differences' standard deviation."""
    differences_P = np.random.default_rng(0).normal(0, 0.1, 8)
    needed = patients_needed(differences_P, 0.02)
    for end, quantile in zip(needed.interval, (0.975, 0.025), strict=True):
        factor = (7 / chi2.ppf(quantile, 7)) ** 0.5
        assert patients_needed(factor * differences_P, 0.02).patients == end
    assert needed.interval[0] < needed.patients < needed.interval[1]


@pytest.mark.parametrize("variance", [1e-6, 1e-5, 2e-5, 4e-5])
def test_the_patients_needed_are_the_fewest_though_more_do_not_always_help(variance):
    """With two degrees of freedom a million patients show less than a hundred: only noise is left."""
    differences_P = np.random.default_rng(0).normal(0, 0.02, 12)
    noise = Noise(variance=variance, freedom=2)

    def enough(patients):
        total, freedom = welch((differences_P.var(ddof=1) + UNSEEN_VARIANCE) / patients, patients - 1, noise)
        return (t.ppf(0.975, freedom) + t.ppf(0.8, freedom)) ** 2 * total <= 0.02**2

    fewest = next((each for each in range(FEWEST_FOR_CLAIM, 5000) if enough(each)), None)
    assert patients_needed(differences_P, 0.02, noise).patients == fewest
    assert enough(1_000_000) == (variance < 2e-5)
    assert (fewest is None) == (variance > 2e-5)


@pytest.mark.parametrize("gans", [[0, 1, 0], [0, 1, 0, 1], [0, 1, 2], [0, 1, 2, 0, 1, 2, 0]])
def test_repeats_on_the_images_of_one_gan_are_one_training(gans):
    rng, folds_P = np.random.default_rng(0), np.arange(12) % 3
    means, told = [], []
    for _ in range(3000):
        shared_KF = rng.normal(0, 0.05, (max(gans) + 1, 3))[gans] + rng.normal(0, 0.01, (len(gans), 3))
        trained_KP = shared_KF[:, folds_P]
        means.append(trained_KP.mean())
        told.append(training_noise(trained_KP, folds_P, gans).variance)
    assert np.mean(told) == pytest.approx(np.var(means), rel=0.1)
    assert training_noise(trained_KP, folds_P, gans).freedom == 3 * max(gans)


def test_without_gans_or_with_a_gan_a_repeat_every_repeat_is_a_training():
    differences_KP = np.random.default_rng(0).normal(size=(4, 9))
    folds_P = np.arange(9) % 3
    alone = training_noise(differences_KP, folds_P)
    assert training_noise(differences_KP, folds_P, [3, 1, 0, 2]) == alone
    by_fold_KF = np.stack([differences_KP[:, folds_P == fold].mean(axis=1) for fold in range(3)], axis=1)
    assert alone.variance == pytest.approx(by_fold_KF.var(axis=0, ddof=1).mean() / 3 / 4)
