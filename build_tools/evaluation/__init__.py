"""Measuring: accuracy of detectors, time of networks."""
