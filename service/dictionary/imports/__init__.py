"""Files that people have, one module a form: each reads its form into rows, which `apply` lays into the dictionary."""
