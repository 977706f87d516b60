"""Fits of toys in code that numba compiles: thousands of small likelihoods that differ in their events alone, fitted one after the other.

**What it computes.** The likelihood of `nsbi/statistics/model/` with its exact gradient and Hessian, and its minima within bounds. With P
parameters theta, of which the first are physics parameters mu and the others K nuisance parameters alpha, J processes, and rows i that
are events or bins,

    -ln L(theta) = sum_i [rate_i lambda_i - count_i ln lambda_i] + sum_k constraint_k(alpha_k),
    lambda_i     = sum_j f_j(mu) e_j(alpha) y_ji prod_k g_jik(alpha_k),   e_j = G_j(alpha) / Z_j(alpha),
    Z_j(alpha)   = sum_s w_s prod_k g_jsk(alpha_k), over the simulated events s of process j; sum_s w_s = 1.

f_j are the multipliers of `[model]`, as programs in reverse Polish order with their derivatives; G_j the responses of yields; y_ji densities, divided by
lambda at a reference point; g_jik the learned responses of a process to one nuisance parameter, interpolated between their values at -1, 0 and 1
sigma in five ways (`arrays.py`, `scalars.py`); Z_j renormalises them. Bins whose simulation has an error have a factor gamma each, at its minimum
in closed form (`_loosen`, as `model/staterror.py`), and expectations below 0 meet a wall (`wall`, as `model/rows.py`). Derivatives follow from three sums over
rows: with t_i = count_i / lambda_i - rate_i, u_ji the terms of lambda_i without f_j, and l = d ln g / d alpha, those of t u, t u l and t u (l l + l'),
and from the Gram matrix of the scores sqrt(count_i) d lambda_i / d theta / lambda_i (`evaluation.py`). What is common to a process is put in afterwards (`combine`).

A fit (`newton.py`) takes damped Newton steps from the Cholesky factor of the Hessian, with an active set for bounds: s = -H^-1 g for free
parameters, shortened where it is longer than trusted, and again until -ln L falls, and ends where the expected distance to the minimum, g H^-1 g / 2, is below
1e-10. Where H is not positive a multiple of 1 is added to it. A toy is fitted with the parameter of interest at each tested value, then freely from the
best of these, each from several starts where `fits/starts.py` says so; a start that runs to a minimum that is known is given up on its way.

**Where it stands in memory.** Likelihoods are `Rows` (`arrays.py`): blocks of 128 rows of one table; the tables of control regions and of bins
first, the events of the toy last, a table for each unbinned region. All float64:

    y        (blocks, J, 128)            densities; `count`, `rate`, `floor` and others (blocks, 128)
    curves   (blocks, C, 4 * 136)        of each response the four numbers u, d, ln u, ln d, 136 apart
    events   (N, J) and (N, 2 C)         the pool that toys draw from, one event behind the other, gathered into blocks for each toy (`filling.py`)
    scratch                              one block's terms, slopes and scores: some 4 kB for each curve, which stay in the cache

**Why it is fast.** NumPy goes through all events once for each operation; here a block stays in the cache while value, gradient and Hessian
are added up, and Newton's steps with the exact Hessian need few evaluations. Inner loops run over the 128 rows of a block, whose numbers have fixed
distances, so that LLVM turns them into vector instructions: sums may be added in any order for that (`compilation.FAST`), and exp and ln are written out
(`vectors.py`), since the mathematics library takes one number at a time. A response within one sigma is a sum of seven terms, whose coefficients are
computed once per point. Z_j is a sum over all simulated events, which would take most of the time: a few hundred of them, with weights of their own,
stand for all (`compression.py`), and where they are not good enough the whole sum is taken once, near the end, with what it differs by (`normalisation.py`).

Bits are the same on one type of processor, whatever the batch, and differ in the last digits between types.

**Who compares it.** `tests/nsbi/statistics/test_batched.py`: value, gradient and Hessian with `model/likelihood.py`, which is NumPy, with everything that a
likelihood may have; with differences; fits with those of iminuit (`fits/fitting.py`), among them those with several minima; exp and ln with NumPy's; and belts with the table
of Feldman and Cousins. `tests/nsbi/statistics/test_batched_campaign.py` does so with more toys, `tests/nsbi/statistics/test_compiled_bits.py` with other processes. Where a compiled fit does not
converge the toy is fitted again by iminuit (`toys/fitting.py`), and likelihoods that this code does not know are left to it from the start (`preparation.unsupported`).

Read `engine.py` first: `CompiledFits.fit` lays out the toys, `_block` fits them one by one.
"""
