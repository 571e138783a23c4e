"""The report of a test as one HTML file, with PNGs of its plots.

canvas          lines, boxes and texts, drawn as SVG or as PNG
plots           the plots of the report
matrix_plot     the confusion matrix
main_plots      those that also become PNGs
elements        tables that sort, figures
sections        how good the test was
error_sections  what went wrong
earlier         what changed since an earlier test
gallery         the worst detections and misses
pictures        small JPEGs, and what is drawn on them
style           CSS
script          JavaScript
report          all of it in one file
run_plots       curves of runs in training, beside each other
run_page        those as one PNG, and as a page of their own
"""
