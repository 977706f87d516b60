"""The toys of a run as one MPI program: `mpiexec -n 8 python -m needle_parsl.workflow.campaign ANALYSIS RUN [SITE]`."""
