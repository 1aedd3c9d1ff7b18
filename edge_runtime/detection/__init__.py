"""What is in the crops."""
