from __future__ import annotations

import pytest

from qlora_operator.settings import parse_arguments


def test_defaults_watch_all_namespaces() -> None:
    settings = parse_arguments([])
    assert settings.namespaces == ()
    assert settings.trainer_image is None


def test_namespaces_add_up() -> None:
    assert parse_arguments(["--namespace=a", "--namespace=b"]).namespaces == ("a", "b")


def test_pull_secrets_add_up() -> None:
    settings = parse_arguments(["--image-pull-secret=a", "--image-pull-secret=b"])
    assert settings.image_pull_secrets == ("a", "b")


def test_a_budget_of_zero_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--progress-budget=0"])
    assert "--progress-budget must be above 0" in capsys.readouterr().err


def test_an_unknown_log_format_is_refused_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--log-format=xml"])
    assert "choose from" in capsys.readouterr().err
