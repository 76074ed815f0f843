"""What asv runs; each class is a variant, and its parameters are a workload's sizes."""
