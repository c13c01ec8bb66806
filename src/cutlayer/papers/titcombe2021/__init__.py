"""Titcombe et al. 2021, regenerated: tables and figures beside the published ones."""
