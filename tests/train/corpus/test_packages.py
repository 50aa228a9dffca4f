"""Which packages the corpus takes."""

import pytest

from train.corpus import licences, packages


def test_packages_by_hash_and_by_name_are_held_out() -> None:
    by_hash = [n for n in map(str, range(400)) if packages.first_byte(n) < 13]

    assert by_hash
    assert all(packages.held_out(n) for n in by_hash)
    assert all(
        packages.held_out(n) for n in ("More_Itertools", "networkx", "human-eval-x", "evalplus")
    )
    assert not packages.held_out("requests")


def test_names_are_compared_as_the_index_does() -> None:
    assert packages.first_byte("Foo.Bar__baz") == packages.first_byte("foo-bar-baz")


def test_validation_packages_are_neither_held_out_nor_trained_on() -> None:
    names = [str(n) for n in range(2000)]
    validation = [n for n in names if packages.is_validation(n)]

    assert 0.01 < len(validation) / len(names) < 0.05
    assert not any(packages.held_out(n) for n in validation)


def test_the_shipped_list_holds_no_held_out_package() -> None:
    lines = packages.PACKAGES.read_text(encoding="utf-8").splitlines()
    listed = [line.split() for line in lines if not line.startswith("#")]
    kept = packages.package_list(packages.PACKAGES)

    assert len(listed) > 1000
    assert not any(packages.held_out(name) for _, name in kept)


@pytest.mark.parametrize(
    ("expression", "text", "classifiers", "licence"),
    [
        ("MIT", None, [], "MIT"),
        ("MIT OR Apache-2.0", None, [], "MIT OR Apache-2.0"),
        ("BSD-3-Clause OR GPL-2.0-or-later", None, [], None),
        ("MPL-2.0", None, [], None),
        (None, "BSD", ["License :: OSI Approved :: BSD License"], "BSD"),
        (None, "BSD or GPL", ["License :: OSI Approved :: BSD License"], None),
        (
            None,
            "",
            [
                "License :: OSI Approved :: BSD License",
                "License :: OSI Approved :: GNU General Public License (GPL)",
            ],
            None,
        ),
        (None, "Apache License, Version 2.0", [], "Apache-2.0"),
        (None, "Permission is hereby granted, free of charge, to any person", [], "MIT"),
        (None, "Proprietary", [], None),
        (None, "(AFL-2.1 OR BSD-3-Clause)", [], "(AFL-2.1 OR BSD-3-Clause)"),
        (None, "AFL-2.1 AND BSD-3-Clause", [], None),
        (None, "(MIT OR GPL-3.0)", [], None),
        (None, None, [], None),
    ],
)
def test_only_permissive_packages_are_taken(
    expression: str | None, text: str | None, classifiers: list[str], licence: str | None
) -> None:
    assert licences.licence_of(expression, text, classifiers)[0] == licence
