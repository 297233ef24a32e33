"""A library whose commits differ in speed; the tests write other seconds into it."""

SECONDS = 0.01
