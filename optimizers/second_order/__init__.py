"""Methods that use second derivatives, exactly or sampled."""
