"""Predictions become results: post-processing, views, tests over a data set."""
