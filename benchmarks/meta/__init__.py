"""The training of the learned optimizers, and the problems they are trained and tested on."""
