"""He et al. 2019 and 2020: the attacks and defences, printed and logged numbers beside ours."""
