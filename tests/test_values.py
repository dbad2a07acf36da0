"""What a caller gives becomes a plain number or a tensor, or is refused by the argument's name."""

from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo.values import as_tensor, scalar, whole

THREES = [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), torch.tensor([3], dtype=torch.uint8)]
NO_NUMBERS = [True, np.True_, torch.tensor(True), 3.0, np.float32(3), torch.tensor(3.0), "3", None, [3], -1, 2**64]


@pytest.mark.parametrize("three", THREES, ids=repr)
def test_an_integer_of_any_library_is_taken_as_a_plain_one(three: Any) -> None:
    assert type(whole("n", three)) is int
    assert whole("n", three) == 3


@pytest.mark.parametrize("wrong", NO_NUMBERS, ids=repr)
def test_what_is_no_whole_number_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(zoo.InputError, match=r"^n must be a whole number from 0 to 2\*\*64 - 1, found "):
        whole("n", wrong)


def test_a_scalar_of_any_library_becomes_a_plain_one() -> None:
    for value in (np.float64(0.5), np.array(0.5), torch.tensor(0.5), 0.5):
        assert type(scalar(value)) is float
    assert scalar("text") == "text"
    assert scalar([1, 2]) == [1, 2]


def test_an_array_that_may_not_be_written_to_is_copied_without_a_warning() -> None:
    array = np.arange(4.0)
    assert as_tensor(array).data_ptr() == array.ctypes.data
    array.flags.writeable = False
    tensor = as_tensor(array)
    tensor[0] = 9
    assert array[0] == 0
