"""Pages: single HTML files that need no other file and no network.

canvas     lines, boxes and texts, drawn as SVG or as PNG
axes       the scales, grid and labels of a plot
elements   tables that sort, facts of the header
render     a template with its style sheets and scripts becomes a page
page.html  what all pages have: head, bar, sections; page.css is their one look
tables.js  sorts tables
"""
