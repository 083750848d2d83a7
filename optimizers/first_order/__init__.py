"""First-order methods: elementwise rules on the gradient."""
