"""Turn predictions into results: post-processing, views, tests on a data set."""
