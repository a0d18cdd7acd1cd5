"""Image records, their members and who may do what with them: one service for every dialect."""
