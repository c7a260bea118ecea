"""Where exported models are run: interpreters on this machine, each in a process of its own."""
