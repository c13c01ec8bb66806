"""One line for each number on the page: what it is, and how to read it."""

OF_AN_API: dict[str, str] = {
    "label_agreement": "Share of a prediction API's answers that have the label the classifier "
    "gave: 100 % where the defence changes no label.",
    "l1_distortion": "How far a prediction API's answer is from what the classifier said: the sum "
    "of what all confidences moved by, averaged over the victims. 0 is unchanged, 2 the most.",
}

GLOSSARY: dict[str, str] = {
    "accuracy": "Share of victims that the network, defences on, classifies right.",
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
    "dcor_x_z": "Distance correlation of inputs and what the attacker sees of them, after Székely "
    "et al. 2007 (V-statistic): 0 to 1, biased upward for few samples. Compare only at equal n.",
    "dcor_x_z_corrected": "Bias-corrected squared distance correlation of inputs and what the "
    "attacker sees of them (U-statistic): about 0 for independent data, and may be negative.",
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


def glossary(*, api: bool) -> dict[str, str]:
    """The entries of a page, those of a prediction API behind the other two of utility."""
    every = GLOSSARY | (OF_AN_API if api else {})
    first = [n for n in ("accuracy", "ece", *OF_AN_API) if n in every]
    return {n: every[n] for n in [*first, *every]}
