from setuptools import find_packages, setup

setup(packages=["faster_rcnn"] + [f"faster_rcnn.{p}" for p in find_packages("lib")])
