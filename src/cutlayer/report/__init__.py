"""Records in; one self-contained page, figures and tables out. Computes nothing."""

from .command import command_line
from .page import write
from .tables import terminal_table

__all__ = ["command_line", "terminal_table", "write"]
