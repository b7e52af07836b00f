"""The loss beside torch's own in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from qlora_api.kernels import FLOAT_PORTION
from qlora_trainer.rank.likelihood import IGNORED, negative_log_likelihood
from unit.trainer.memory_meter import MemoryMeter


def made(tokens: int, vocabulary: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a size that models have, and labels of which every fifth is ignored."""
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(tokens, vocabulary, generator=generator) * 4 + 7).to(dtype)
    labels = torch.randint(0, vocabulary, (tokens,), generator=generator)
    labels[::5] = IGNORED
    return logits.requires_grad_(), labels


def exact(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and gradient in float64."""
    precise = logits.detach().double().requires_grad_()
    loss = cross_entropy(precise.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum")
    loss.backward()
    assert precise.grad is not None
    return loss.detach(), precise.grad


def gradient_of(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    (gradient,) = torch.autograd.grad(loss, logits)
    return gradient


@pytest.mark.parametrize("tokens", [1, FLOAT_PORTION - 1, FLOAT_PORTION, 2 * FLOAT_PORTION + 3])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-3), (torch.float16, 5e-4)])
def test_loss_and_gradient_are_those_of_float64(tokens: int, dtype: torch.dtype, error: float) -> None:
    logits, labels = made(tokens + 1, 500, dtype)  # the first label is ignored
    loss = negative_log_likelihood(logits, labels)
    expected, expected_gradient = exact(logits, labels)
    gradient = gradient_of(loss, logits)
    assert loss.dtype == torch.float32
    assert gradient.dtype == dtype
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=error, atol=1e-6)


def test_a_large_vocabulary_costs_no_precision() -> None:
    logits, labels = made(16, 150_000)
    expected, _ = exact(logits, labels)
    assert float(negative_log_likelihood(logits, labels)) == pytest.approx(float(expected), rel=3e-7)


def test_the_gradient_is_that_of_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qlora_trainer.rank.likelihood.FLOAT_PORTION", 3)
    logits, labels = made(7, 5, torch.float64)
    assert torch.autograd.gradcheck(lambda given: negative_log_likelihood(given, labels) * 0.3, logits)


def test_sequences_need_not_lie_one_after_the_other() -> None:
    logits, labels = made(600, 40)
    whole = logits.detach().view(3, 200, 40)
    for given in (whole.transpose(0, 1), whole[:, ::2], whole.transpose(1, 2).contiguous().transpose(1, 2)):
        given = given.requires_grad_()
        learned = labels[: given.shape[0] * given.shape[1]].view(given.shape[:2])
        loss = negative_log_likelihood(given, learned)
        expected, expected_gradient = exact(given, learned)
        assert float(loss) == pytest.approx(float(expected), rel=1e-6)
        torch.testing.assert_close(gradient_of(loss, given).double(), expected_gradient, rtol=1e-5, atol=1e-6)


def test_the_logits_stay_as_they_are() -> None:
    logits, labels = made(10, 20)
    before = logits.detach().clone()
    gradient_of(negative_log_likelihood(logits, labels), logits)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("shape", [(2, 0, 8), (2, 3, 8)])
def test_nothing_learned_is_a_loss_of_zero_with_a_gradient_of_zeros(shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape, requires_grad=True)
    loss = negative_log_likelihood(logits, torch.full(shape[:-1], IGNORED))
    assert float(loss.detach()) == 0
    assert torch.equal(gradient_of(loss, logits), torch.zeros(shape))


def test_what_is_ignored_may_be_no_number() -> None:
    logits, labels = made(10, 20)
    with torch.no_grad():
        logits[0] = torch.nan
    loss = negative_log_likelihood(logits, labels)
    assert loss.isfinite()
    assert torch.equal(gradient_of(loss, logits)[0], torch.zeros(20))


def test_what_is_learned_from_no_number_is_none() -> None:
    logits, labels = made(10, 20)
    with torch.no_grad():
        logits[1, 3] = torch.inf
    assert negative_log_likelihood(logits, labels).isnan()


def test_tokens_beyond_the_vocabulary_may_be_ruled_out() -> None:
    """Models whose vocabulary is padded give them no probability."""
    logits, labels = made(10, 20)
    padded = torch.cat([logits, torch.full((10, 12), -torch.inf)], 1).detach().requires_grad_()
    loss = negative_log_likelihood(padded, labels)
    torch.testing.assert_close(loss, negative_log_likelihood(logits, labels))
    assert torch.equal(gradient_of(loss, padded)[:, 20:], torch.zeros(10, 12))


def test_logits_through_tanh_give_their_gradient_on() -> None:
    given, labels = made(300, 50)
    precise = given.detach().double().requires_grad_()
    loss = negative_log_likelihood((given / 30).tanh() * 30, labels)
    expected = cross_entropy((precise / 30).tanh() * 30, labels, ignore_index=IGNORED, reduction="sum")
    torch.testing.assert_close(gradient_of(loss, given).double(), gradient_of(expected, precise), rtol=1e-5, atol=1e-6)


def test_without_gradients_the_loss_is_the_same() -> None:
    logits, labels = made(300, 50)
    with torch.no_grad():
        alone = negative_log_likelihood(logits, labels)
    assert torch.equal(alone, negative_log_likelihood(logits, labels).detach())


@pytest.mark.parametrize("label", [-1, 20])
def test_a_label_outside_the_vocabulary_is_an_error(label: int) -> None:
    logits, labels = made(10, 20)
    labels[1] = label
    with pytest.raises(RuntimeError, match="out of bounds"):
        negative_log_likelihood(logits, labels)


def test_beside_the_logits_there_is_one_portion_in_float32_and_backwards_their_gradient() -> None:
    tokens, vocabulary = 4 * FLOAT_PORTION, 1000
    logits, labels = made(tokens, vocabulary, torch.bfloat16)
    portion, gradient = 4 * FLOAT_PORTION * vocabulary, 2 * tokens * vocabulary
    meter = MemoryMeter()
    meter.know([logits, labels])
    with meter:
        loss = negative_log_likelihood(logits, labels)
        assert meter.peak == pytest.approx(portion, rel=0.03)
        assert meter.live < 0.02 * portion
        gradient_of(loss, logits)
    assert meter.peak == pytest.approx(portion + gradient, rel=0.03)
