"""Plan, submit, control, repair and read campaigns. Functions return results and print nothing."""
