"""Tables as data: strict YAML in, resolved runs out, every problem with its place in the file."""
