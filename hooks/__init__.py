"""The programs that DAGMan calls before and after every node."""
