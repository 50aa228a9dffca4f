"""What a release consists of, built and checked: `python -m release` (`make release`)."""
