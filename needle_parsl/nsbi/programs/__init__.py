"""Programs that run in a process of their own, since they execute the user's code or measure time: `python -m needle_parsl.nsbi.programs.NAME`."""
