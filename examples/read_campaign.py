"""Read a campaign with pandas (pip install pandas): python read_campaign.py CAMPAIGN."""

import sys

import pandas as pd

from faser_align.api import Campaign, subtract_constants

campaign = Campaign(sys.argv[1])
if not campaign.metrics():
    sys.exit(f"{campaign.name} has no finished iteration yet; it is {campaign.state}")

# Convergence: one row per iteration.
iterations = pd.DataFrame(campaign.iterations())
print(
    iterations[
        ["stage", "iteration", "tracks", "chi2_per_ndf", "residual_shift_um", "delta_chi2_per_parameter", "verdict"]
    ].to_string()
)

# Fraction of each module's hits rejected by the residual cut in the last iteration; empty for imported campaigns.
hits = campaign.metrics()[-1]["hits"].get("modules", {})
modules = pd.DataFrame.from_dict(hits, orient="index", columns=["kept", "cut"])
print("\nShare of hits cut by residual, the largest by module:")
print((modules["cut"] / modules.sum(axis=1)).sort_values(ascending=False).head().to_string())

# Largest corrections in um; keys are station, layer and module.
moved = pd.DataFrame.from_dict(
    subtract_constants(campaign.constants(), campaign.start_constants()),
    orient="index",
    columns=["x", "y", "z", "rx", "ry", "rz"],
)
print("\nWhat moved most along y, from the start to the end:")
for key, y_mm in moved["y"].abs().sort_values(ascending=False).head(3).items():
    station, layer, *module = str(key)
    part = f"module {module[0]} of " if module else ""
    print(f"{part}layer {layer} of station {station}: {1e3 * y_mm:.1f} um along y")
