"""Optimizers whose update rule is a small recurrent network, trained beforehand on families of problems."""
