"""Reports from the results: tables, plots, the results page, and the comparison with figures published in 2016."""
