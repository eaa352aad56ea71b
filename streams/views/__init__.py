"""The read path: a Faust application that keeps tables from the log, and a query API over them."""
