"""The report of a test, and the curves of runs, as self-contained HTML pages.

plots     the plots of the report
sections  numbers and tables of its sections
gallery   the worst detections and misses, with thumbnails
report    the report: report.html, .css and .js filled in
label_errors  the page of likely label errors, and files to correct them with
run_page  the curves of runs in one image and one page: runs.html, .css and .js
"""
