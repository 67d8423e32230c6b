"""
======================================
More rows than one machine holds: Dask
======================================

A fit needs sums over rows, and sums can be computed where the rows are. `skactivation.dask` sends coefficients to the
workers of a Dask cluster and gets sums back. The result is that of a fit to the same rows in memory. This example makes
rows on the workers, fits to more and more of them, and shows what they are good for: the log loss on new rows comes
closer to the best there is.
"""

# %%
# Here the cluster is four threads of this process; `Client("tcp://scheduler:8786")` would connect to many machines, and
# nothing else would change.
import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from distributed import Client

from skactivation import SoftmaxRegression
from skactivation.activations import softmax
from skactivation.dask import DaskSoftmaxRegression
from skactivation.losses import softmax_cross_entropy

client = Client(processes=False, n_workers=2, threads_per_worker=2, dashboard_address=":0")
N_FEATURES, N_CLASSES, ROWS_EACH = 50, 5, 2_000
W = np.random.default_rng(0).normal(size=(N_FEATURES, N_CLASSES)) / np.sqrt(N_FEATURES)


# %%
# The rows of a partition follow from its number, as if they were read from a file of that number. A worker computes
# them when they are needed, and again if it was lost. The classes come from a softmax model with the coefficients W.
def rows_of(block, block_info=None):
    number = block_info[None]["chunk-location"][0]
    rng = np.random.default_rng(1000 + number)
    X = rng.normal(size=(ROWS_EACH, N_FEATURES))
    classes = np.argmax(X @ W + rng.gumbel(size=(ROWS_EACH, N_CLASSES)), axis=1)
    return np.column_stack([X, classes])


def partitions(n):
    numbers = da.zeros(n, chunks=1)
    both = numbers.map_blocks(
        rows_of, new_axis=1, chunks=((ROWS_EACH,) * n, (N_FEATURES + 1,)), dtype=float, meta=np.zeros((0, 0))
    ).persist()
    return both[:, :-1], both[:, -1].astype(int)


X, y = partitions(40)
X_new = X[-8 * ROWS_EACH :]

# %%
# Fits to 1, 2, 4, ... partitions. Predictions are lazy: Dask computes them when they are asked for. Without a penalty
# the error comes from the rows alone. The loss is taken with the true probabilities of the new rows, which are known
# here, so that it does not depend on chance.
logits = (X_new @ W).compute()
best = softmax_cross_entropy(logits, softmax(logits))
sizes, losses = [1, 2, 4, 8, 16, 32], []
for n in sizes:
    rows = slice(0, n * ROWS_EACH)
    model = DaskSoftmaxRegression(C=np.inf).fit(X[rows], y[rows])
    losses.append(softmax_cross_entropy(model.decision_function(X_new).compute(), softmax(logits)))
for n, loss in zip(sizes, losses, strict=True):
    print(f"{n * ROWS_EACH:7,} rows: log loss of new rows {loss:.4f}, above that of the true model {loss - best:.1e}")

# %%
# The last fit, once more in memory. The coefficients are the same to many digits; `to_local` makes a plain estimator of
# the one from the cluster, for files and servers that know nothing of Dask.
local = SoftmaxRegression(C=np.inf).fit(X[rows].compute(), y[rows].compute())
plain = model.to_local()
difference = np.abs(plain.coef_ - local.coef_).max() / np.abs(local.coef_).max()
print(f"{type(plain).__name__}: coefficients differ by {difference:.0e} from a fit in memory")
client.close()

# %%
# The more rows, the closer to the true model: the excess is about the number of coefficients divided by twice the
# number of rows, the dashed line.
n_free = (N_CLASSES - 1) * (N_FEATURES + 1)
rows = ROWS_EACH * np.array(sizes)
fig, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
ax.loglog(rows, n_free / (2 * rows), color="0.4", ls="--", label="free coefficients / (2 rows)")
ax.loglog(rows, np.array(losses) - best, "o-", color="#0072B2", label="fits on the cluster")
ax.set(
    xlabel="rows of the fit",
    ylabel="log loss of new rows, excess",
    title="Twice the rows, half the excess over the true model's log loss",
)
ax.minorticks_off()
ax.set_xticks(rows, [f"{n:,}" for n in rows])
ax.set_yticks([0.05, 0.02, 0.01, 0.005, 0.002], ["0.05", "0.02", "0.01", "0.005", "0.002"])
ax.legend(frameon=False)
fig.savefig("dask_more_rows.png", dpi=150)
print("Pictures: dask_more_rows.png")
plt.show()
