"""The report of a test as one HTML file, with PNGs of its plots.

plots        the plots of the report
matrix_plot  the confusion matrix
main_plots   those that also become PNGs
sections     how good the test was, and what went wrong
earlier      what changed since an earlier test
gallery      the worst detections and misses
thumbnails   small JPEGs, and what is drawn on them
report       all of it in one file, with report.html, .css and .js
run_plots    curves of runs in training, beside each other
run_page     those as one PNG, and as a page of their own, with runs.html, .css, .js
"""
