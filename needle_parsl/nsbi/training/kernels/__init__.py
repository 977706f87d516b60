"""Training of multilayer perceptrons in code that numba compiles: forward, backward and the optimiser's step, without torch.

**What it computes.** A network of L linear layers with one activation a (SiLU, ReLU or tanh) between them,

    h_0 = x,   z_l = W_l h_(l-1) + b_l,   h_l = a(z_l) m_l / (1 - p),   logits = z_L,

where m_l is 0 for units that dropout drops (`masks.py`), else 1. The loss of a batch of B events with labels y and weights w is

    L = 1/norm sum_n w_n l(logits_n, y_n),   norm = B, or sum_n w_n,

with l one of: binary cross-entropy ln(1 + e^z) - y z; squared error (z - y)^2; y (e^-z - z) + (1 - y) (e^z + z) of mlc (`functions.py`); or the
cross-entropy of a softmax, ln sum_k e^(z_k) - z_y (`classes.py`). Its gradient is that of back-propagation,

    d_L = dL/dlogits,   dL/dW_l = sum_n d_l h_(l-1)^T,   dL/db_l = sum_n d_l,   d_(l-1) = (W_l^T d_l) a'(z_(l-1)) m_(l-1) / (1 - p),

and the step that of Adam, AdamW, NAdam or SGD with the formulae of `torch.optim` (`updates.py`). Labels of a single logit may be smoothed, y (1 - s) +
s / 2. All arrays are float32; losses are added up in float64.

**Where it stands in memory.** Parameters are one vector, shape (P,), in torch's order: W_1 (O, I) row by row, b_1, W_2, and so on; so are the
gradient and the optimiser's moments. Events are a table: x (N, F), label (N,), weight (N,). `layout.py` says by one row of 12 whole numbers for each
layer where the rest is, in flat arrays that start at a line of the cache:

    panels      weights, once a step (`passes.pack`), as panels of 2 vectors of columns: W^T for the way forward, W for the way back
    values      of a tile of 128 events: the input, then the activations of each layer, shape (128, width) each
    slopes      likewise: a'(z), over which d_l is written on the way back
    gradients   dL/dW_l, shape (O, I), padded; sums: dL/db_l in as many equal rows as a block has
    logits      shape (128,); of many classes one after the other, shape (K, 128)

Widths are padded with zeros to whole vectors. A unit of padding has no weights: its activation is a(0) = 0, and no
gradient of it is read. A single logit is no layer of its own, but the product of two vectors, since a block of columns would be wasted on it.

**Why it is fast.** Such networks are so small that torch spends its time between the matrix products (docs/decisions/0006). Here 128 events go
through all layers, and back, before the next, so that nothing leaves the cache. All products are made of one block (`blocks.py`, `products.py`): 8
rows and 2 vectors of columns, 4 rows where there are 16 registers (AVX), whose sums stay in registers while the terms are added by fused multiply-adds; the bias is where a
sum starts, and the derivative of the activation is multiplied where a product is written. The loop of the block, and exp, sigmoid and logarithm, are
written as LLVM's vector instructions (`vectors.py`, `functions.py`), since numba has no word for a vector; the sigmoid takes its reciprocal
without the processor's slow division, and nothing is copied for a library.

Without fast mathematics, BLAS or threads the bits depend on the sources and on the length of the processor's vectors alone.

**Who compares it.** `tests/nsbi/training/test_native.py`: loss and gradient with torch's autograd, for all losses, activations, widths beside those of whole
vectors, and one or many logits; a thousand steps with those of `torch.optim`; NaN and extreme logits; trainings in pieces, to the bit.
`tests/nsbi/training/test_dropout.py`: masks with those of `nsbi/training/dropout.py`. `tests/nsbi/training/test_engines.py`: whole trainings with lightning.Trainer. A module of
the user's is moreover held against its own `training_step` while it is trained (`recognition.py`).

Read `trainer.py` first: `Trainer.train_batches` is the loop over batches, `_differentiate` what happens with each.
"""
