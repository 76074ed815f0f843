"""Reports from the results: tables, plots, the dashboard's tab, and the comparison with figures published in 2016."""
