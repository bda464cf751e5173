"""The one wire format between Python and the page."""
