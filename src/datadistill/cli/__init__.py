"""The command line: subcommands, few frozen flags, tables. The only room that imports cyclopts and prints."""
