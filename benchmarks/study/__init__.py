"""What the rows of the routing study give: tables, pictures, its section of the results."""
