"""What runs experiments, and what races of optimizers are; the gallery of their results."""
