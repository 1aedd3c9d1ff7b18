"""Pictures and labels: reading packs, asking teachers, augmenting."""
