"""Time a grid on many machines: plan what is missing, run it as jobs of Slurm or of this machine, merge the figures."""
