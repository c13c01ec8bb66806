"""One line for each number on the page: what it is, and how to read it."""

GLOSSARY: dict[str, str] = {
    "accuracy": "Share of victims that the split network, defences on, classifies right.",
    "ece": "Expected calibration error: how far the network's confidence is from its accuracy, "
    "averaged over bins of confidence; 0 is calibrated.",
    "mse": "Mean squared error between original and reconstruction, values in [0, 1]; 0 is exact.",
    "psnr": "Peak signal-to-noise ratio in decibels at peak 1, per sample, then averaged; "
    "capped at 100 for exact copies.",
    "ssim": "Structural similarity after Wang et al. 2004: Gaussian window 11×11, σ 1.5, data "
    "range 1, valid region only; 1 is exact. For images of at least 11×11 pixels.",
    "read": "Share of reconstructions that a classifier trained apart from the victim network "
    "assigns to the right class: does the class survive?",
    "read_by_victim": "The same, asked of the attacked network itself, undefended.",
    "top1": "Share of reconstructions that lie nearest to their own original among a gallery of "
    "originals: does the individual survive?",
    "top5": "The same, with the own original among the nearest five.",
    "top1_in_class": "Re-identified, top 1, among originals of the same class only: what shows of "
    "the individual beyond the class.",
    "dcor_x_z": "Distance correlation of inputs and messages after Székely et al. 2007 "
    "(V-statistic): 0 to 1, biased upward for few samples. Compare only at equal n.",
    "dcor_x_z_corrected": "Bias-corrected squared distance correlation of inputs and messages "
    "(U-statistic): about 0 for independent data, and may be negative.",
    "dcor_x_xhat": "Distance correlation of inputs and reconstructions (V-statistic).",
    "dcor_x_xhat_corrected": "Bias-corrected squared distance correlation of inputs and "
    "reconstructions (U-statistic).",
    "95 % interval": "Bootstrap interval over the victims: it shows the spread over people, not "
    "over training runs.",
    "worst 5 %": "The value beyond which the worst-off 5 % of the victims lie, on the side that "
    "is bad for them.",
    "advantage": "(attack − best floor) / (perfect − best floor): 0 is no better than the best "
    "floor, 1 is a perfect reconstruction, and below 0 the attack loses to the floor.",
}
