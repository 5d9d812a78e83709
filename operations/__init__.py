"""What the program does for its user: plan, submit, control, repair and read campaigns. Functions return results and print nothing."""
