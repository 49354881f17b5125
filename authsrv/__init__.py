"""The switch: what it decides is pure and stands here; what touches the world stands in `authsrv.shell`."""
