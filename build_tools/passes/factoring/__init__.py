"""Low rank: which layers come apart, into what, and how thin."""
