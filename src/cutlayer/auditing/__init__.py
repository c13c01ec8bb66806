"""Where to cut, which defence, how strong: for any network, judged by the strongest attacker."""
