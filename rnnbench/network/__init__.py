"""The network: the workload, its shapes and grids, the float64 reference, and the contract of every variant."""
