"""Laws of the typed controls that a model declares."""

import math
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo.family import conditions
from zoo.family.conditions import tensors

DIGIT = zoo.Categorical(tuple("0123456789"))
ANIMAL = zoo.Categorical(("cat", "dog", "fox"))
LOOKS = zoo.Flags(("Blond_Hair", "Young", "Smiling"))
TILT = zoo.Continuous(-2.0, 2.0)
CODES = zoo.Continuous(-1.0, 1.0, size=3)
DECLARED = {"animal": ANIMAL, "looks": LOOKS, "tilt": TILT, "codes": CODES}


def test_names_from_a_list_are_the_same_condition() -> None:
    """As a family's config may hold them; a card is held against its module by equality."""
    for kind in (zoo.Categorical, zoo.Flags):
        assert kind(["cat", "dog"]) == kind(("cat", "dog"))  # type: ignore[arg-type]
    assert zoo.Categorical(("cat", "dog")) != zoo.Flags(("cat", "dog"))


def test_what_is_left_out_is_none() -> None:
    assert tensors(DECLARED, {}, 4) == dict.fromkeys(DECLARED)
    assert tensors(DECLARED, {"animal": None, "tilt": None}, 4) == dict.fromkeys(DECLARED)
    assert tensors({}, {}, 4) == {}


@pytest.mark.parametrize(
    "value", ["dog", 1, 1.0, True, np.int64(1), torch.tensor(1), ["dog"] * 3, [1, "dog", 1], (1, 1, 1), torch.ones(3)]
)
def test_a_class_is_given_by_name_or_index_once_or_per_sample(value: Any) -> None:
    result = tensors(DECLARED, {"animal": value}, 3)["animal"]
    assert result is not None
    assert result.dtype == torch.int64
    assert result.tolist() == [1, 1, 1]


def test_each_sample_may_have_its_own_class() -> None:
    result = tensors(DECLARED, {"animal": ["fox", "cat", 1]}, 3)["animal"]
    assert result is not None
    assert result.tolist() == [2, 0, 1]


def test_a_name_wins_over_an_index_that_looks_like_it() -> None:
    odd = zoo.Categorical(("7", "8", "0"))
    result = tensors({"label": odd}, {"label": ["0", 0]}, 2)["label"]
    assert result is not None
    assert result.tolist() == [2, 0]


@pytest.mark.parametrize("index", range(10))
def test_every_class_is_reached_by_its_name_and_its_index(index: int) -> None:
    by_name, by_index = (tensors({"label": DIGIT}, {"label": value}, 1)["label"] for value in (str(index), index))
    assert by_name is not None
    assert by_index is not None
    assert by_name.tolist() == by_index.tolist() == [index]


@pytest.mark.parametrize("value", [3, -1, 0.5, math.nan, math.inf, "", None, [0, 1, None], {"dog": 1}, [[0], [1], [2]]])
def test_no_class_is_refused(value: Any) -> None:
    given = {"animal": [value] * 3 if value is None else value}
    with pytest.raises(zoo.InputError, match="animal"):
        tensors(DECLARED, given, 3)


def test_a_flag_is_given_by_its_own_name_and_the_rest_is_nan() -> None:
    looks = tensors(DECLARED, {"Blond_Hair": True, "Smiling": [0, 1]}, 2)["looks"]
    assert looks is not None
    assert looks.dtype == torch.float32
    assert looks.shape == (2, 3)
    assert looks[:, 0].tolist() == [1, 1]
    assert bool(looks[:, 1].isnan().all())
    assert looks[:, 2].tolist() == [0, 1]


def test_flags_by_their_own_names_equal_flags_as_a_mapping() -> None:
    flags = {"Young": False, "Smiling": True}
    one, two = (tensors(DECLARED, given, 2)["looks"] for given in (flags, {"looks": flags}))
    assert one is not None
    assert two is not None
    assert one.nan_to_num(-1).tolist() == two.nan_to_num(-1).tolist() == [[-1, 0, 1]] * 2


def test_a_mapping_and_single_flags_go_together_and_the_mapping_given_is_not_changed() -> None:
    mine = {"Young": True}
    for given in ({"looks": mine, "Smiling": False}, {"Smiling": False, "looks": mine}):
        looks = tensors(DECLARED, given, 1)["looks"]
        assert looks is not None
        assert math.isnan(looks[0, 0])
        assert looks[0, 1:].tolist() == [1, 0]
        assert mine == {"Young": True}


@pytest.mark.parametrize("given", [{"Young": None, "Smiling": 1}, {"looks": {"Young": None, "Smiling": 1}}])
def test_a_flag_given_as_none_is_left_out(given: dict[str, Any]) -> None:
    looks = tensors(DECLARED, given, 1)["looks"]
    assert looks is not None
    assert bool(looks[0, :2].isnan().all())
    assert looks[0, 2] == 1


@pytest.mark.parametrize("value", [2, 0.5, "yes", "True", math.nan, [True, 2], [[1], [0]]])
def test_a_flag_is_true_or_false_and_nothing_else(value: Any) -> None:
    with pytest.raises(zoo.InputError, match="Young"):
        tensors(DECLARED, {"Young": value}, 2)


@pytest.mark.parametrize("more", [{}, {"Young": True}])
def test_flags_must_be_a_mapping(more: dict[str, bool]) -> None:
    with pytest.raises(zoo.InputError, match=r"looks=True: expected a mapping of Blond_Hair"):
        tensors(DECLARED, {"looks": True} | more, 1)


def test_a_flag_given_twice_is_refused() -> None:
    with pytest.raises(zoo.InputError, match="Young is given twice"):
        tensors(DECLARED, {"looks": {"Young": True}, "Young": False}, 1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, [[0.5], [0.5]]),
        ([0.5, -2], [[0.5], [-2]]),
        (torch.tensor([[0.5], [2.0]]), [[0.5], [2.0]]),
        (np.array([1.0, 2.0]), [[1.0], [2.0]]),
        (True, [[1.0], [1.0]]),
    ],
)
def test_a_number_is_given_once_or_per_sample(value: Any, expected: list[list[float]]) -> None:
    result = tensors(DECLARED, {"tilt": value}, 2)["tilt"]
    assert result is not None
    assert result.dtype == torch.float32
    assert result.tolist() == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, [[0.5, 0.5, 0.5]] * 2),
        ([0.5, 0, -1], [[0.5, 0, -1]] * 2),
        ([[0, 0, 1], [1, 0, 0]], [[0, 0, 1], [1, 0, 0]]),
    ],
)
def test_several_numbers_are_given_once_or_per_sample(value: Any, expected: list[list[float]]) -> None:
    result = tensors(DECLARED, {"codes": value}, 2)["codes"]
    assert result is not None
    assert result.tolist() == expected


@pytest.mark.parametrize(
    "value", [2.001, -2.001, math.nan, math.inf, [0, 3], "high", "1", [1, "x"], None, {}, [[[1.0]]]]
)
def test_numbers_outside_their_range_or_of_another_kind_are_refused(value: Any) -> None:
    given = {"tilt": [value] * 2 if value is None else value}
    with pytest.raises(zoo.InputError, match=r"tilt.*a number from -2 to 2|tilt: shape"):
        tensors(DECLARED, given, 2)


@pytest.mark.parametrize(
    "given",
    [
        {"animal": ["cat", "dog"]},
        {"animal": []},
        {"Young": [True] * 4},
        {"tilt": [0.1, 0.2]},
        {"codes": [0.1, 0.2]},
        {"codes": [[0.1, 0.2, 0.3]] * 2},
    ],
)
def test_a_wrong_count_is_refused_with_both_counts(given: dict[str, Any]) -> None:
    with pytest.raises(zoo.InputError, match="3"):
        tensors(DECLARED, given, 3)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"animl": "cat"}, "'animal'"),
        ({"Yung": True}, "'Young'"),
        ({"blond_hair": True}, "'Blond_Hair'"),
        ({"animal": "dgo"}, "'dog'"),
        ({"looks": {"Smilling": True}}, "'Smiling'"),
    ],
)
def test_unknown_names_get_suggestions(given: dict[str, Any], hint: str) -> None:
    with pytest.raises(zoo.InputError, match=f"Did you mean .*{hint}"):
        tensors(DECLARED, given, 1)


def test_a_model_without_conditions_says_so() -> None:
    with pytest.raises(zoo.InputError, match="takes no conditions"):
        tensors({}, {"label": 7}, 1)


@pytest.mark.parametrize("kind", DECLARED.values())
def test_every_control_is_plain_frozen_data_that_describes_itself(kind: Any) -> None:
    import copy

    assert kind == copy.deepcopy(kind)
    assert hash(kind) == hash(copy.deepcopy(kind))
    for part in getattr(kind, "names", ()) or (f"{kind.low:g}", f"{kind.high:g}"):
        assert part in kind.text()


@pytest.mark.parametrize(
    "broken",
    [
        lambda: zoo.Categorical(()),
        lambda: zoo.Categorical(("a", "a")),
        lambda: zoo.Categorical((1, 2)),  # type: ignore[arg-type]
        lambda: zoo.Flags(()),
        lambda: zoo.Flags(("a", "a")),
        lambda: zoo.Continuous(1.0, 1.0),
        lambda: zoo.Continuous(2.0, 1.0),
        lambda: zoo.Continuous(0.0, math.nan),
        lambda: zoo.Continuous(0.0, 1.0, size=0),
    ],
)
def test_a_control_that_cannot_be_met_is_refused_when_it_is_declared(broken: Any) -> None:
    with pytest.raises(zoo.ConfigError):
        broken()


def test_the_callers_tensor_is_not_shared() -> None:
    mine = torch.zeros(2, 3)
    result = tensors(DECLARED, {"codes": mine}, 2)["codes"]
    assert result is not None
    result += 1
    assert mine.tolist() == torch.zeros(2, 3).tolist()


@pytest.mark.parametrize(
    "given",
    [
        {"animal": "dog"},
        {"animal": ["dog", 0, "fox"]},
        {"animal": torch.tensor([2, 1, 0])},
        {"animal": np.int64(1)},
        {"tilt": 0.5},
        {"tilt": [0.5, -1, 2]},
        {"tilt": np.array([[0.5], [-1], [2]])},
        {"codes": [1, 0, -1]},
        {"codes": torch.tensor([[1, 0, -1], [0, 0, 0], [0.5, 1, 1]])},
        {"looks": {"Young": True, "Smiling": [True, False, True]}},
        {"Young": [0, 1, 1], "animal": None},
    ],
)
def test_the_values_of_some_samples_are_those_rows_of_all(given: dict[str, Any]) -> None:
    whole = tensors(DECLARED, given, 3)
    for rows in (range(3), range(1), range(1, 3)):
        some = tensors(DECLARED, conditions.part(DECLARED, given, rows, 3), len(rows))
        for key, value in whole.items():
            if value is None:
                assert some[key] is None
            else:
                assert torch.equal(some[key].nan_to_num(9), value[rows.start : rows.stop].nan_to_num(9))  # type: ignore[union-attr]


def test_some_of_too_few_values_are_refused() -> None:
    with pytest.raises(zoo.InputError, match="animal has 2 values for 3 samples"):
        conditions.part(DECLARED, {"animal": ["dog", "cat"]}, range(1), 3)
