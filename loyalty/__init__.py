"""What a programme makes of a request: its rules as frozen values, each limit as a pure function."""
