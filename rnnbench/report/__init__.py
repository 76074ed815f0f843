"""What the results say: tables, plots, and the comparison with the figures published in 2016."""
