"""What parties of a federation are. Importing this module imports nothing."""

from typing import Literal

Role = Literal["server", "relay", "owner", "user", "auditor"]
ROLES: tuple[Role, ...] = ("server", "relay", "owner", "user", "auditor")
