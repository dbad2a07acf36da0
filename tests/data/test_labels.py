"""Labels by name: what values are classes, attributes and domains, and when two lists of names are the same words."""

from typing import Any

import pytest
import torch

from zoo.data import labels
from zoo.errors import DataError


@pytest.mark.parametrize(
    ("values", "names", "numbers"),
    [
        (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
        ([3, 10, 3], ("3", "10"), [0, 1, 0]),
        ([-1, 1, 1], ("-1", "1"), [0, 1, 1]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        ([1.0, 2.0, 1.0], ("1", "2"), [0, 1, 0]),
        ([10**15, 5, 5], ("5", str(10**15)), [1, 0, 0]),
        (["10", "9", "x", "x"], ("9", "10", "x"), [1, 0, 2, 2]),
    ],
    ids=str,
)
def test_classes_are_called_by_their_values(values: list[Any], names: tuple[str, ...], numbers: list[int]) -> None:
    found, called = labels.classes(values, (), "data")
    assert (called, found.tolist()) == (names, numbers)


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        (["a", None, "a"], (), "1 rows have no label. The first is row 1"),
        (["a", "", "a"], (), "have no label"),
        ([1.0, float("nan"), 1.0], (), "have no label"),
        ([0.5, 0.5, 1.5], (), "numbers with fractions"),
        (list(range(1001)) * 2, (), "1,001 different values, and at most 1,000 can be classes"),
        ([10**12 + i for i in range(50)], (), "50 different values, and every row has another one"),
        ([0, -1, 1], ("cat", "dog"), "belong to none of its classes"),
        ([0, 2, 1], ("cat", "dog"), "belong to none of its classes"),
    ],
    ids=str,
)
def test_what_is_no_class_is_refused(values: list[Any], names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        labels.classes(values, names, "data")


@pytest.mark.parametrize(
    "values", [[1, 0], [1, -1], [True, False], ["yes", "No"], ["TRUE", "false"], ["1", "-1"], [1.0, 0.0]], ids=str
)
def test_an_attribute_has_many_spellings(values: list[Any]) -> None:
    found, names = labels.attributes([("Young", values)], "data")
    assert names == ("Young",)
    assert found.tolist() == [[1], [0]]


@pytest.mark.parametrize("values", [[1, 0, -1], [1, 2], ["yes", "perhaps"], [True, None], [0.5, 1.0]], ids=str)
def test_what_is_no_attribute_is_refused(values: list[Any]) -> None:
    with pytest.raises(DataError, match="the column 'Young' is not an attribute"):
        labels.attributes([("Young", values)], "data")


@pytest.mark.parametrize(
    ("wanted", "found", "places"),
    [
        (["cat", "dog"], ["cat", "dog"], [0, 1]),
        (["cat", "dog"], ["dog", "cat"], [1, 0]),
        (["black_hair", "blond_hair"], ["Blond_Hair", "Black_Hair"], [1, 0]),
        (["T-shirt/top", "Bag"], ["T - shirt / top", "Bag"], [0, 1]),
        (["-1", "1"], ["1", "-1"], [1, 0]),
        (["a", "A"], ["A", "a"], [1, 0]),
    ],
    ids=str,
)
def test_names_agree_as_words_in_any_order(wanted: list[str], found: list[str], places: list[int]) -> None:
    assert labels.agreed(wanted, found, "data") == places


@pytest.mark.parametrize("found", [["cat", "dgo"], ["cat"], ["cat", "dog", "bird"], ["Cat", "cat"]], ids=str)
def test_other_names_are_an_error_that_shows_both_lists(found: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        labels.agreed(["cat", "dog"], found, "data")
    assert f"The data have {', '.join(found)}; the model has cat, dog" in caught.value.message


def test_a_test_split_may_lack_a_class_but_have_none_of_its_own() -> None:
    assert labels.agreed(["cat", "dog"], ["dog"], "data", part=True) == [1]
    with pytest.raises(DataError):
        labels.agreed(["cat", "dog"], ["bird"], "data", part=True)


def test_labels_are_put_into_the_order_of_the_model() -> None:
    numbers, names = labels.ordered(torch.tensor([0, 1, 1, -1]), ["Dog", "Cat"], [1, 0], ["cat", "dog"])
    assert (numbers.tolist(), names) == ([1, 0, 0, -1], ("Cat", "Dog"))
    flags, names = labels.ordered(torch.tensor([[1.0, 0.0, 0.0]]), ["a", "b", "c"], [2, 0, 1], ["b", "c", "a"])
    assert (flags.tolist(), names) == ([[0, 0, 1]], ("b", "c", "a"))
