"""Labels, constants, fix rules, Mille conversion, pede formats and the built-in solver."""
