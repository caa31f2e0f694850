"""Finding pictures.

`query` reads what is asked, `names` knows what names mean, `index` holds the library's tags in memory, `evaluate`
brings the three together, `find` gives the answers, `said` tells what was said of single pictures.
"""
