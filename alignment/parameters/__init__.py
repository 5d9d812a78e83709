"""What is aligned: labels of parameters, constants and their arithmetic, rules that fix parameters."""
